"""What the schedule rings for: expired leases and stale merges."""

from labeling.aggregation import aggregate
from labeling.answering import assignment
from webapp.jobs.bell import app


@app.task
def return_expired_leases() -> int:
    return assignment.return_expired()


@app.task
def judge_open_campaigns() -> int:
    return aggregate.judge_open_campaigns()


@app.task
def aggregate_open_campaigns() -> int:
    return aggregate.aggregate_open_campaigns()
