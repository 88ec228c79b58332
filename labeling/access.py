"""Who may take part in a campaign: open to the site's annotators, by invitation link, or sent by a recruiter."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from labeling.models import Campaign, Participation, SawAnswers
from webapp import audit
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role, require
from webapp.refusal import Conflict, NotAllowed, NotFound


def visible_to(account: Account) -> QuerySet[Campaign]:
    """Campaigns whose existence this account may know of."""
    campaigns = Campaign.objects.all()
    if account.is_one_of(*STAFF):
        return campaigns
    if account.is_one_of(Role.RESEARCHER):
        return campaigns.filter(releases__isnull=False).distinct()
    return (
        campaigns.filter(~Q(state="draft"))
        .filter(Q(access=Campaign.Access.OPEN, state__in=["open", "paused"]) | Q(participations__annotator=account))
        .distinct()
    )


def participate(account: Account, campaign: Campaign, *, invited: bool = False) -> Participation:
    """The account's seat in a campaign, taken at the first visit. Raises NotFound for campaigns it may not enter."""
    seat = Participation.objects.filter(campaign=campaign, annotator=account).select_related("campaign").first()
    if seat:
        return seat
    if not account.is_one_of(Role.ANNOTATOR, *STAFF) or campaign.state == Campaign.State.DRAFT:
        raise NotFound("There is no such campaign, or it is not open to you.")
    if campaign.access != Campaign.Access.OPEN and not invited:
        raise NotFound("There is no such campaign, or it is not open to you.")
    try:
        with transaction.atomic():
            return Participation.objects.create(campaign=campaign, annotator=account)
    except IntegrityError:
        return Participation.objects.get(campaign=campaign, annotator=account)


def enter_as_recruited(campaign: Campaign, recruiter_id: str) -> Account:
    if campaign.access != Campaign.Access.RECRUITER or campaign.state != Campaign.State.OPEN:
        raise NotFound("This campaign does not take recruited people now.")
    account = people.recruited(campaign.recruiter_parameter, recruiter_id)
    if not account.is_active:
        raise NotAllowed("This account is switched off.", fix="Write to the people who sent you here.")
    participate(account, campaign, invited=True)
    return account


def note_answers_seen(account: Account, campaign: Campaign) -> None:
    """From now on this account cannot answer in the campaign: it has seen what others said."""
    SawAnswers.objects.bulk_create([SawAnswers(campaign=campaign, account=account)], ignore_conflicts=True)


def set_standing(actor: Account, seat: Participation, standing: str, reason: str) -> Participation:
    """Pause, block or restore one annotator in one campaign, with a reason that the annotator can read."""
    require(actor, *STAFF)
    if standing not in Participation.Standing.values:
        raise Conflict("Unknown standing.", field="standing", value=standing, fix="active, paused or blocked")
    if standing != Participation.Standing.ACTIVE and not reason.strip():
        raise Conflict("Say why: the annotator will read it.", field="reason")
    with transaction.atomic():
        seat.standing, seat.standing_reason = standing, reason.strip()[:400]
        seat.save(update_fields=["standing", "standing_reason"])
        audit.record(actor, f"annotator.{standing}", seat, reason=seat.standing_reason)
    return seat
