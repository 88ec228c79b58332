"""Who may take part in a campaign: open to the site's annotators, by invitation link, or sent by a recruiter."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from labeling import aggregation, percepts
from labeling.models import Campaign, Pair, Participation, SawAnswers
from labeling.snapshot import standing_votes
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
        # No vote of this annotator comes in between.
        Participation.objects.select_for_update(no_key=True).get(pk=seat.pk)
        seat.refresh_from_db(fields=["standing", "pairs_finished"])
        was = seat.standing
        seat.standing, seat.standing_reason = standing, reason.strip()[:400]
        if standing == Participation.Standing.ACTIVE:
            seat.appeal, seat.appealed_at, seat.cleared_at = "", None, timezone.now()
        seat.save(update_fields=["standing", "standing_reason", "appeal", "appealed_at", "cleared_at"])
        excluded = Participation.Standing.BLOCKED
        if was != standing and excluded in (was, standing):
            _count_votes(seat, excluded=standing == excluded)
        audit.record(actor, f"annotator.{standing}", seat, reason=seat.standing_reason)
    return seat


def _count_votes(seat: Participation, *, excluded: bool) -> None:
    """Take the votes of an excluded annotator out of the queue's counts, or put them back; then merge anew.

    The votes themselves stay. Where others have filled the place in the meantime, a pair keeps both.
    """
    campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(pk=seat.campaign_id)
    votes = standing_votes(campaign).filter(participation=seat)
    theirs = Pair.objects.filter(pk__in=votes.values("pair"))
    if not excluded:
        more = theirs.filter(taken=F("votes_needed")).count()
        Campaign.objects.filter(pk=campaign.pk).update(votes_wanted=F("votes_wanted") + more)
    if campaign.mode != Campaign.Mode.FIXED:  # percepts before pairs, in one order: see percepts.after
        people = votes.order_by("pair__first_person").values_list("pair__first_person", flat=True).distinct()
        for person in list(people):
            percepts.follow(campaign, person)
    done = theirs.filter(votes_counted=F("votes_needed"))
    for _ in theirs.order_by("pk").select_for_update(no_key=True).values_list("pk").iterator():
        pass  # locked in the order of their keys, so that two exclusions never wait for each other
    before = done.count()
    if excluded:
        theirs.update(votes_counted=F("votes_counted") - 1, taken=F("taken") - 1)
    else:
        theirs.filter(taken=F("votes_needed")).update(votes_needed=F("votes_needed") + 1)
        theirs.update(votes_counted=F("votes_counted") + 1, taken=F("taken") + 1)
    seat.pairs_finished += done.count() - before
    seat.save(update_fields=["pairs_finished"])
    if campaign.crowd_runs.exists() and aggregation.counted_votes(campaign).exists():
        aggregation.start(None, campaign, campaign.crowd_runs.first().model)


def grant_try(actor: Account, seat: Participation) -> Participation:
    """Let somebody who failed the tutorial try it once more. Raises NotAllowed, Conflict."""
    require(actor, *STAFF)
    with transaction.atomic():
        locked = Participation.objects.select_for_update(of=("self",), no_key=True).select_related("campaign")
        seat = locked.get(pk=seat.pk)
        if seat.tutorial_passed_at is not None:
            raise Conflict("The tutorial is passed already.", field="seat")
        if seat.tutorial_tries < seat.campaign.tutorial_tries + seat.tutorial_granted:
            raise Conflict("There are tries left.", field="seat")
        seat.tutorial_granted += 1
        seat.save(update_fields=["tutorial_granted"])
        audit.record(actor, "annotator.grant-try", seat, granted=seat.tutorial_granted)
    return seat


def appeal(account: Account, campaign_uuid: object, text: str) -> Participation:
    """Ask the admins to look again at a pause or an exclusion. Raises NotFound, Conflict."""
    seat = Participation.objects.filter(campaign__uuid=campaign_uuid, annotator=account).first()
    if seat is None:
        raise NotFound("You have no seat in this campaign.", field="campaign")
    if seat.standing == Participation.Standing.ACTIVE:
        raise Conflict("There is nothing to appeal against: you may work.", field="campaign")
    if not text.strip():
        raise Conflict("Say why the decision is wrong.", field="text")
    with transaction.atomic():
        seat.appeal, seat.appealed_at = text.strip()[:2000], timezone.now()
        seat.save(update_fields=["appeal", "appealed_at"])
        audit.record(account, "annotator.appeal", seat, text=seat.appeal)
    return seat
