"""What the schedule rings for: expired leases and stale merges."""

from celery import shared_task

from labeling import aggregation, assignment


@shared_task
def return_expired_leases() -> int:
    return assignment.return_expired()


@shared_task
def aggregate_open_campaigns() -> int:
    return aggregation.aggregate_open_campaigns()
