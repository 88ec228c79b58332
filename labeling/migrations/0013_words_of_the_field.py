"""The tables get the field's own words: depth posteriors, aggregation runs, reference questions. Nothing but names changes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0012_quick_quality_pages")]

    operations = [
        migrations.RenameModel("Percept", "DepthPosterior"),
        migrations.RenameField("DepthPosterior", "seen", "perceived"),
        migrations.RenameModel("CrowdRun", "AggregationRun"),
        migrations.RenameField("Release", "crowd_run", "aggregation_run"),
        migrations.RenameModel("KnownQuestion", "ReferenceQuestion"),
        migrations.RenameField("Vote", "side_seen", "presentation"),
        migrations.RenameField("Label", "p_first_closer_plain", "p_first_closer_without_prior"),
        migrations.RemoveConstraint(
            model_name='aggregationrun',
            name='crowd_run_number_once',
        ),
        migrations.RemoveConstraint(
            model_name='depthposterior',
            name='percept_once_per_campaign',
        ),
        migrations.RemoveConstraint(
            model_name='depthposterior',
            name='percept_risk_is_one',
        ),
        migrations.RemoveConstraint(
            model_name='referencequestion',
            name='known_question_position_once',
        ),
        migrations.RemoveConstraint(
            model_name='referencequestion',
            name='known_question_two_keypoints',
        ),
        migrations.RenameIndex(
            model_name='depthposterior',
            new_name='posterior_queue',
            old_name='percept_queue',
        ),
        migrations.RenameIndex(
            model_name='depthposterior',
            new_name='posterior_asked_risk',
            old_name='percept_asked_risk',
        ),
        migrations.RenameIndex(
            model_name='referencequestion',
            new_name='reference_question_least_asked',
            old_name='known_question_least_asked',
        ),
        migrations.AlterField(
            model_name='aggregationrun',
            name='campaign',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aggregation_runs', to='labeling.campaign'),
        ),
        migrations.AlterField(
            model_name='depthposterior',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='posteriors', to='labeling.campaign'),
        ),
        migrations.AlterField(
            model_name='referencequestion',
            name='campaign',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reference_questions', to='labeling.campaign'),
        ),
        migrations.AddConstraint(
            model_name='aggregationrun',
            constraint=models.UniqueConstraint(fields=('campaign', 'number'), name='aggregation_run_number_once'),
        ),
        migrations.AddConstraint(
            model_name='depthposterior',
            constraint=models.UniqueConstraint(fields=('campaign', 'person'), name='posterior_once_per_campaign'),
        ),
        migrations.AddConstraint(
            model_name='depthposterior',
            constraint=models.CheckConstraint(condition=models.Q(('risk__gte', 0), ('risk__lte', 0.5)), name='posterior_risk_is_one'),
        ),
        migrations.AddConstraint(
            model_name='referencequestion',
            constraint=models.UniqueConstraint(fields=('campaign', 'use', 'position'), name='reference_question_position_once'),
        ),
        migrations.AddConstraint(
            model_name='referencequestion',
            constraint=models.CheckConstraint(condition=models.Q(('first', models.F('second')), _negated=True), name='reference_question_two_keypoints'),
        ),
    ]
