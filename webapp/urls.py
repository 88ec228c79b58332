"""Every address of the site, in one place."""

from typing import Any

from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path
from django.views.decorators.cache import never_cache
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from labeling.answering import pages as answering_pages
from labeling.campaigns import api as campaigns_api
from labeling.campaigns import pages as campaigns_pages
from labeling.importing import api as importing_api
from labeling.importing import pages as importing_pages
from labeling.quality import pages as quality_pages
from labeling.releasing import api as releasing_api
from labeling.releasing import pages as releasing_pages
from training import catalog_api
from training.harvests import api as harvests_api
from training.harvests import pages as harvests_pages
from training.priors import api as priors_api
from training.priors import pages as priors_pages
from training.runs import api as runs_api
from training.runs import pages as runs_pages
from webapp import documentation
from webapp.accounts import api as accounts_api
from webapp.accounts import pages as accounts_pages
from webapp.jobs import api as jobs_api
from webapp.jobs import pages as jobs_pages
from webapp.site import health, index, nothing_here

router = SimpleRouter(use_regex_path=True)
router.register("accounts", accounts_api.Accounts, "accounts")
router.register("audit", accounts_api.Audit, "audit")
router.register("tokens", accounts_api.Tokens, "tokens")
router.register("jobs", jobs_api.Jobs, "jobs")
router.register("skeletons", importing_api.Skeletons, "skeletons")
router.register("datasets", importing_api.Datasets, "datasets")
router.register("imports", importing_api.Imports, "imports")
router.register("campaigns", campaigns_api.Campaigns, "campaigns")
router.register("releases", releasing_api.Releases, "releases")
router.register("catalogs", catalog_api.Catalogs, "catalogs")
router.register("runs", runs_api.Runs, "runs")
router.register("models", runs_api.Models, "models")
router.register("priors", priors_api.Priors, "priors")
router.register("harvests", harvests_api.Harvests, "harvests")

api: list[Any] = [
    path("me/", accounts_api.MeView.as_view(), name="me"),
    path("annotate/", include("labeling.answering.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    path("", include(router.urls)),
    re_path(".*", nothing_here),
]

urlpatterns: list[Any] = [
    path("", index, name="index"),
    path("healthz", health, name="health"),
    path("login/", accounts_pages.Login.as_view(), name="login"),
    path("login/code/", accounts_pages.login_code, name="login-code"),
    path("logout/", never_cache(LogoutView.as_view()), name="logout"),
    path("register/", accounts_pages.register, name="register"),
    path("first-admin/<str:token>/", accounts_pages.first_admin, name="first-admin"),
    path("account/", accounts_pages.account, name="account"),
    path("account/password/", accounts_pages.PasswordChange.as_view(), name="password-change"),
    path("password/", accounts_pages.PasswordForgotten.as_view(), name="password-forgotten"),
    path("password/<str:uidb64>/<str:token>/", accounts_pages.PasswordSet.as_view(), name="password-set"),
    path("audit/", accounts_pages.audit_page, name="audit"),
    path("people/", accounts_pages.people_page, name="people"),
    path("jobs/", jobs_pages.job_list, name="job-list"),
    path("jobs/<uuid:identity>/", jobs_pages.job_page, name="job"),
    path("", include(answering_pages.urls)),
    path("", include(quality_pages.urls)),
    path("", include(campaigns_pages.urls)),
    path("", include(importing_pages.urls)),
    path("", include(releasing_pages.urls)),
    path("", include(priors_pages.urls)),
    path("", include(runs_pages.urls)),
    path("", include(harvests_pages.urls)),
    path("", include(documentation.urls)),
    path("api/v1/", include(api)),
]
handler404 = "webapp.site.page_not_found"
handler403 = "webapp.site.not_allowed"
handler500 = "webapp.site.broken"
