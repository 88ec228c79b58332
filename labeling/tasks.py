"""What the schedule starts: the return of expired leases, aggregations of new votes, looks at annotators."""

from labeling.aggregation import aggregate
from labeling.answering import assignment
from webapp.jobs.celery_app import app


@app.task
def return_expired_leases() -> int:
    return assignment.return_expired()


@app.task
def judge_open_campaigns() -> int:
    return aggregate.judge_open_campaigns()


@app.task
def aggregate_open_campaigns() -> int:
    return aggregate.aggregate_open_campaigns()
