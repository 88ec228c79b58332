"""What an hour of an annotator's work earns."""

from __future__ import annotations

from labeling.models import Campaign, Participation


def wage(campaign: Campaign, participation: Participation) -> float | None:
    """Effective hourly wage by the server's times: pay of all that was answered ('same', gold, probe and tutorial questions
    too) over the time between answers, breaks left out. None where it cannot be told."""
    if not campaign.pay_per_vote or participation.paid_count < 5 or participation.worked_s <= 0:
        return None
    return 3600 * participation.paid_count * campaign.pay_per_vote / participation.worked_s
