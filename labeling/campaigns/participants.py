"""Who may take part in a campaign: open to the site's annotators, by invitation link, or sent by a recruiter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from labeling.aggregation import aggregate, follow
from labeling.aggregation.snapshot import counted_votes, standing_votes
from labeling.answering.assignment import budget_left
from labeling.models import Campaign, Pair, Participation, QuestionReport, SawAnswers
from webapp import audit
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role, require
from webapp.errors import Conflict, Invalid, NotAllowed, NotFound


def visible_to(account: Account) -> QuerySet[Campaign]:
    """Campaigns whose existence this account may know of."""
    campaigns = Campaign.objects.all()
    if account.is_one_of(*STAFF):
        return campaigns
    if account.is_one_of(Role.RESEARCHER):
        return campaigns.filter(releases__isnull=False).distinct()
    if account.is_recruited:  # was sent here for one campaign and sees no other
        return campaigns.filter(~Q(state="draft"), participations__annotator=account)
    return (
        campaigns.filter(~Q(state="draft"))
        .filter(Q(access=Campaign.Access.OPEN, state__in=["open", "paused"]) | Q(participations__annotator=account))
        .distinct()
    )


def open_to(account: Account) -> QuerySet[Campaign]:
    """Campaigns in which this account may take or has a participation, now: what its page of work offers."""
    if not account.is_one_of(Role.ANNOTATOR, *STAFF):
        return Campaign.objects.none()
    seated = Q(participations__annotator=account)
    may = seated if account.is_recruited else seated | Q(access=Campaign.Access.OPEN)
    return Campaign.objects.filter(may, state__in=["open", "paused"]).distinct()


def participate(account: Account, campaign: Campaign, *, invited: bool = False) -> Participation:
    """The account's participation in a campaign, taken at the first visit. Raises NotFound for campaigns it may not enter."""
    participation = (
        Participation.objects.filter(campaign=campaign, annotator=account).select_related("campaign").first()
    )
    if participation:
        return participation
    if not account.is_one_of(Role.ANNOTATOR, *STAFF) or campaign.state == Campaign.State.DRAFT:
        raise NotFound("There is no such campaign, or it is not open to you.")
    if not invited and (campaign.access != Campaign.Access.OPEN or account.is_recruited):
        raise NotFound("There is no such campaign, or it is not open to you.")
    try:
        with transaction.atomic():
            return Participation.objects.create(campaign=campaign, annotator=account)
    except IntegrityError:
        return Participation.objects.get(campaign=campaign, annotator=account)


PROLIFIC_ID = re.compile(r"[0-9a-f]{24}")
ANY_ID = re.compile(r"[A-Za-z0-9._:@-]{3,128}")


def checked_id(parameter: str, text: str) -> str:
    """A recruiter's id as it came in the address. Raises Invalid, with what to do, for a missing, unreplaced or malformed one."""
    text = text.strip()
    fix = "open the link that the recruiter's page gives you, whole; whoever runs the study checks its link there"
    if not text:
        raise Invalid(f"The address lacks {parameter}, the recruiter's id of the person.", field=parameter, fix=fix)
    pattern = PROLIFIC_ID if parameter.upper() == "PROLIFIC_PID" else ANY_ID
    if not pattern.fullmatch(text):
        what = (
            "a placeholder that the recruiter did not replace"
            if re.search(r"[{}$%<>\[\]]", text)
            else "no id of a person"
        )
        raise Invalid(f"This is {what}.", field=parameter, value=text[:60].encode("ascii", "replace").decode(), fix=fix)
    return text


def enter_as_recruited(campaign: Campaign, parameters: Mapping[str, str]) -> Account:
    """The account of somebody whom a recruiter sent, with a participation in this campaign. Raises NotFound, Invalid, NotAllowed."""
    if campaign.access != Campaign.Access.RECRUITER or campaign.state == Campaign.State.DRAFT:
        raise NotFound("This study does not take people now.")
    person = checked_id(campaign.recruiter_parameter, parameters.get(campaign.recruiter_parameter, ""))
    optional = {
        field: checked_id(name, text)
        for field, name in (("recruiter_study", "STUDY_ID"), ("recruiter_session", "SESSION_ID"))
        if (text := parameters.get(name, ""))
    }
    account = people.recruited(campaign.recruiter_parameter, person)
    if not account.is_active:
        raise NotAllowed("This account is switched off.", fix="Write to the people who sent you here.")
    participation = participate(account, campaign, invited=True)
    if optional:
        Participation.objects.filter(pk=participation.pk).update(**optional)
    return account


@dataclass(frozen=True)
class Ending:
    """What is said when no question comes. `url`: where a recruited person goes now, only where it is earned."""

    kind: str
    title: str
    text: str
    url: str = ""
    again: bool = False


def ending_of(account: Account, campaign_uuid: UUID | str) -> Ending:
    """How it ends for this person now. Whether the work was done is read from what the server recorded."""
    participation = (
        Participation.objects.select_related("campaign").filter(annotator=account, campaign__uuid=campaign_uuid).first()
    )
    if participation is None:
        raise NotFound("You have no participation in this campaign.", field="campaign")
    campaign, recruited = participation.campaign, account.is_recruited
    last = participation.sessions.order_by("-started_at", "-pk").first()
    finished = participation.sessions.filter(finished_at__isnull=False).exists()
    sent_away = campaign.no_work_url if recruited else ""
    if recruited and finished:
        return Ending("done", "Thank you!", "Your work here is done.", campaign.completion_url)
    if participation.standing != Participation.Standing.ACTIVE:
        return Ending("excluded", f"Your work here is {participation.standing}", participation.standing_reason)
    tries = campaign.tutorial_tries + participation.tutorial_granted
    if campaign.tutorial_length and participation.tutorial_passed_at is None and participation.tutorial_tries >= tries:
        text = "All tries of the tutorial are used up. The people who run this campaign can grant you another one."
        return Ending("tutorial_failed", "The tutorial was not passed", text, campaign.screened_out_url * recruited)
    if campaign.state == Campaign.State.PAUSED:
        return Ending("paused", "Paused", "The campaign is paused just now. Come back later.", again=True)
    if campaign.state != Campaign.State.OPEN:
        return Ending("closed", "Closed", "The campaign has ended. Thank you for your interest.", sent_away)
    if last is not None and last.finished_at is not None:
        done = f"This session's {last.answered} comparison{'s are' if last.answered != 1 else ' is'} done."
        return Ending("done", "Thank you!", done, again=True)
    if last is None and campaign.budget_votes is not None and budget_left(campaign) < 1:
        return Ending(
            "budget_spent", "All answers are in", "The campaign has all the answers that it wanted.", sent_away
        )
    text = "Nothing is left for you here right now. Questions that others do not answer come back after a while."
    return Ending("nothing_left", "Nothing to answer now", text, sent_away, again=True)


def note_answers_seen(account: Account, campaign: Campaign) -> None:
    """From now on this account cannot answer in the campaign: it has seen what others said."""
    SawAnswers.objects.bulk_create([SawAnswers(campaign=campaign, account=account)], ignore_conflicts=True)


def set_standing(actor: Account, participation: Participation, standing: str, reason: str) -> Participation:
    """Pause, block or restore one annotator in one campaign, with a reason that the annotator can read."""
    require(actor, *STAFF)
    if standing not in Participation.Standing.values:
        raise Conflict("Unknown standing.", field="standing", value=standing, fix="active, paused or blocked")
    if standing != Participation.Standing.ACTIVE and not reason.strip():
        raise Conflict("Say why: the annotator will read it.", field="reason")
    with transaction.atomic():
        # No vote of this annotator comes in between.
        Participation.objects.select_for_update(no_key=True).get(pk=participation.pk)
        participation.refresh_from_db(fields=["standing", "pairs_finished"])
        was = participation.standing
        participation.standing, participation.standing_reason = standing, reason.strip()[:400]
        if standing == Participation.Standing.ACTIVE:
            participation.appeal, participation.appealed_at, participation.cleared_at = "", None, timezone.now()
        participation.save(update_fields=["standing", "standing_reason", "appeal", "appealed_at", "cleared_at"])
        excluded = Participation.Standing.BLOCKED
        if was != standing and excluded in (was, standing):
            _count_votes(participation, excluded=standing == excluded)
        audit.record(actor, f"annotator.{standing}", participation, reason=participation.standing_reason)
    return participation


def _count_votes(participation: Participation, *, excluded: bool) -> None:
    """Take the votes of an excluded annotator out of the queue's counts, or put them back, and start an aggregation.

    The votes themselves stay. Where others have filled the place in the meantime, a pair keeps both.
    """
    campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(pk=participation.campaign_id)
    votes = standing_votes(campaign).filter(participation=participation)
    theirs = Pair.objects.filter(pk__in=votes.values("pair"))
    if not excluded:
        more = theirs.filter(taken=F("votes_needed")).count()
        Campaign.objects.filter(pk=campaign.pk).update(votes_wanted=F("votes_wanted") + more)
    if campaign.mode != Campaign.Mode.FIXED:  # posteriors before pairs, in one order: see follow.after
        people = votes.order_by("pair__person").values_list("pair__person", flat=True).distinct()
        for person in list(people):
            follow.follow(campaign, person)
    done = theirs.filter(votes_counted=F("votes_needed"))
    for _ in theirs.order_by("pk").select_for_update(no_key=True).values_list("pk").iterator():
        pass  # locked in the order of their keys, so that two exclusions never wait for each other
    before = done.count()
    if excluded:
        theirs.update(votes_counted=F("votes_counted") - 1, taken=F("taken") - 1)
    else:
        theirs.filter(taken=F("votes_needed")).update(votes_needed=F("votes_needed") + 1)
        theirs.update(votes_counted=F("votes_counted") + 1, taken=F("taken") + 1)
    participation.pairs_finished += done.count() - before
    participation.save(update_fields=["pairs_finished"])
    last = campaign.aggregation_runs.first()
    if last is not None and counted_votes(campaign).exists():
        aggregate.start(None, campaign, last.model)


def grant_try(actor: Account, participation: Participation) -> Participation:
    """Let somebody who failed the tutorial try it once more. Raises NotAllowed, Conflict."""
    require(actor, *STAFF)
    with transaction.atomic():
        locked = Participation.objects.select_for_update(of=("self",), no_key=True).select_related("campaign")
        participation = locked.get(pk=participation.pk)
        if participation.tutorial_passed_at is not None:
            raise Conflict("The tutorial is passed already.", field="participation")
        if participation.tutorial_tries < participation.campaign.tutorial_tries + participation.tutorial_granted:
            raise Conflict("There are tries left.", field="participation")
        participation.tutorial_granted += 1
        participation.save(update_fields=["tutorial_granted"])
        audit.record(actor, "annotator.grant-try", participation, granted=participation.tutorial_granted)
    return participation


def appeal(account: Account, campaign_uuid: UUID | str, text: str) -> Participation:
    """Ask the admins to look again at a pause or an exclusion. Raises NotFound, Conflict."""
    participation = Participation.objects.filter(campaign__uuid=campaign_uuid, annotator=account).first()
    if participation is None:
        raise NotFound("You have no participation in this campaign.", field="campaign")
    if participation.standing == Participation.Standing.ACTIVE:
        raise Conflict("There is nothing to appeal against: you may work.", field="campaign")
    if not text.strip():
        raise Conflict("Say why the decision is wrong.", field="text")
    with transaction.atomic():
        participation.appeal, participation.appealed_at = text.strip()[:2000], timezone.now()
        participation.save(update_fields=["appeal", "appealed_at"])
        audit.record(account, "annotator.appeal", participation, text=participation.appeal)
    return participation


def forget(account: Account, **_: Any) -> None:
    """What an erased person wrote, and the ids a recruiter gave him or her; answers stay, under the pseudonym."""
    Participation.objects.filter(annotator=account).update(recruiter_study="", recruiter_session="", appeal="")
    QuestionReport.objects.filter(assignment__participation__annotator=account).update(words="")
