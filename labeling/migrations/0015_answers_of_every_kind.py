"""Answers to gold questions and mirror probes move into the table of answers, with what was taken back of them."""

import uuid

from django.db import migrations

SAME = "key, number, closer, leased_at, received_at, response_ms, toggles, zoom, viewport, by, app_version"
KINDS = (("gold", "labeling_goldanswer", "labeling_goldretraction", "correct"),
         ("probe", "labeling_probeanswer", "labeling_proberetraction", "same"))  # fmt: skip
PRESENTATION = """(CASE WHEN l.green_is_first THEN 'green' ELSE 'pink' END)
    || (CASE WHEN l.green_is_first = l.green_on_left THEN '-left' ELSE '-right' END)"""


def quoted(prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in SAME.split(", "))


def fresh_keys(cursor: object, table: str, among: str) -> None:
    """A key was unique in its table; where a page used one in both, the moved row gets another."""
    cursor.execute(f"SELECT a.id FROM {table} a JOIN {among} b ON b.key = a.key")
    for (row,) in cursor.fetchall():
        new = uuid.uuid4()
        cursor.execute(f"UPDATE {table} SET key = %s WHERE id = %s", [new.hex, row])


def move(apps: object, schema_editor: object) -> None:
    with schema_editor.connection.cursor() as cursor:
        for kind, table, retractions, right in KINDS:
            fresh_keys(cursor, table, "labeling_answer")
            fresh_keys(cursor, retractions, "labeling_retraction")
            cursor.execute(f"""INSERT INTO labeling_answer
                ({quoted()}, kind, campaign_id, participation_id, assignment_id, pair_id, as_expected, presentation)
                SELECT {quoted("a.")}, '{kind}', l.campaign_id, l.participation_id, l.id, NULL, a.{right}, {PRESENTATION}
                FROM {table} a JOIN labeling_assignment l ON l.id = a.assignment_id ORDER BY a.id""")
            cursor.execute(f"""INSERT INTO labeling_retraction (key, answer_id, at)
                SELECT r.key, n.id, r.at FROM {retractions} r JOIN {table} a ON a.id = r.answer_id
                JOIN labeling_answer n ON n.key = a.key ORDER BY r.id""")


def move_back(apps: object, schema_editor: object) -> None:
    with schema_editor.connection.cursor() as cursor:
        for kind, table, retractions, right in KINDS:
            cursor.execute(f"""INSERT INTO {table} ({quoted()}, assignment_id, {right})
                SELECT {quoted()}, assignment_id, as_expected FROM labeling_answer WHERE kind = '{kind}' ORDER BY id""")
            cursor.execute(f"""INSERT INTO {retractions} (key, answer_id, at)
                SELECT r.key, a.id, r.at FROM labeling_retraction r JOIN labeling_answer n ON n.id = r.answer_id
                JOIN {table} a ON a.key = n.key WHERE n.kind = '{kind}' ORDER BY r.id""")
        cursor.execute("DELETE FROM labeling_retraction WHERE answer_id IN (SELECT id FROM labeling_answer WHERE kind <> 'vote')")
        cursor.execute("DELETE FROM labeling_answer WHERE kind <> 'vote'")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0014_one_table_of_answers")]

    operations = [
        migrations.RunPython(move, move_back),
        migrations.DeleteModel("GoldRetraction"),
        migrations.DeleteModel("ProbeRetraction"),
        migrations.DeleteModel("GoldAnswer"),
        migrations.DeleteModel("ProbeAnswer"),
        migrations.CreateModel(
            name="Vote",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=("labeling.answer",),
        ),
    ]
