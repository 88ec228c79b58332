"""Every setting of Nearer, read once from the environment, checked and explained.

Nobody else reads the environment. `docs/operations.md` lists the same names; a test compares them.
"""

import os
import re
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from webapp.errors import hide

BASE_DIR = Path(__file__).resolve().parent.parent


def _flag(name: str, default: bool) -> bool:
    text = os.environ.get(name, "").strip().lower()
    if text in ("", "1", "0", "true", "false", "yes", "no"):
        return default if text == "" else text in ("1", "true", "yes")
    raise ImproperlyConfigured(f"{name}={text!r}: write 1 or 0")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ImproperlyConfigured(f"{name}={text!r}: write a whole number") from None


def _names(name: str, default: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


PRODUCTION = _flag("NEARER_PRODUCTION", False)
DEBUG = _flag("NEARER_DEBUG", False)

# Everything that is written at run time (database, pictures, releases, models, broker) is below VAR.
VAR = Path(os.environ.get("NEARER_VAR", BASE_DIR / "var")).resolve()
VAR.mkdir(parents=True, exist_ok=True)
hide(VAR)


def _secret_key() -> str:
    if key := os.environ.get("SECRET_KEY", ""):
        if PRODUCTION and (len(key) < 50 or len(set(key)) < 10 or key.startswith("django-insecure")):
            raise ImproperlyConfigured(
                "SECRET_KEY is too weak for production: make one of at least 50 characters, for example with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(64))'`"
            )
        return key
    if PRODUCTION:
        raise ImproperlyConfigured("SECRET_KEY is not set: production needs one of at least 50 characters")
    path = VAR / "secret_key"
    if not path.exists():
        fresh = VAR / f"secret_key.{os.getpid()}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(64))
        try:
            os.link(fresh, path)  # the first process wins; the others read its key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = _names("ALLOWED_HOSTS", "" if PRODUCTION else "localhost,127.0.0.1,[::1],testserver")
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured("NEARER_DEBUG=1 shows strangers the inside of the site: leave it out in production")
if PRODUCTION and (not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS):
    raise ImproperlyConfigured("ALLOWED_HOSTS: name the hosts of this site, as in nearer.example.org; '*' takes any")
CSRF_TRUSTED_ORIGINS = _names("CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "webapp.accounts.apps.Accounts",
    "webapp.jobs.apps.Jobs",
    "labeling.apps.Labeling",
    "training.apps.Training",
]

OTP_TOTP_ISSUER = "Nearer"

MIDDLEWARE = [
    "webapp.site.Health",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "webapp.uploads.UploadGuard",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "webapp.problems.RefusalMiddleware",
]

ROOT_URLCONF = "webapp.urls"
CSRF_FAILURE_VIEW = "webapp.site.stale_form"
WSGI_APPLICATION = "webapp.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Each room holds its own pages; webapp holds the base page and what every page is made of.
        "DIRS": [
            BASE_DIR / "webapp" / "templates",
            *sorted(room for app in ("labeling", "training") for room in (BASE_DIR / app).glob("*/templates")),
        ],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["webapp.ui"],  # the components that pages are made of
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database: SQLite in WAL mode with immediate write transactions, or PostgreSQL by DATABASE_URL ---
DATABASE_URL = os.environ.get("DATABASE_URL", "")
if DATABASE_URL:
    _database = dj_database_url.parse(DATABASE_URL)
    if _database["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL: write postgres://user:password@host:port/name, or leave it out")
    if _password := os.environ.get("DATABASE_PASSWORD", ""):  # as it is, whatever letters it has
        _database["PASSWORD"] = _password
    _database["CONN_HEALTH_CHECKS"] = True  # after a restart of the server no request meets a dead connection
    _pool_size = _number("DATABASE_POOL", 8)
    if _pool_size:
        # The server keeps the plans of repeated queries: half the database's time of a vote. Without a pool of our own
        # there may be a foreign one (PgBouncer), which need not know prepared statements.
        _pool = {"min_size": 1, "max_size": _pool_size, "timeout": 30}
        _database["OPTIONS"] = {"pool": _pool, "server_side_binding": True, "prepare_threshold": 3}
    DATABASES = {"default": _database}
else:
    DATABASES = {
        "default": {
            "ENGINE": "webapp.sqlite",
            "NAME": str(VAR / "nearer.sqlite3"),
            "CONN_MAX_AGE": 600,  # closing costs more than a vote: the last one out empties the write-ahead log
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;",
            },
            # in a folder of its own: writers queue at the folder, and tests that run side by side must not wait for each other
            "TEST": {"NAME": VAR / f"test-{os.getpid()}" / "nearer.sqlite3"},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Broker and cache: kombu's filesystem transport and a file cache, or Redis by REDIS_URL ---
REDIS_URL = os.environ.get("REDIS_URL", "")
BROKER_FOLDER = VAR / "broker"
if REDIS_URL:
    CELERY_BROKER_URL = REDIS_URL
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "global_keyprefix": "nearer:"}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
else:
    for _part in ("messages", "control"):
        (BROKER_FOLDER / _part).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_FOLDER / "messages"),
        "data_folder_out": str(BROKER_FOLDER / "messages"),
        "control_folder": str(BROKER_FOLDER / "control"),
        "polling_interval": 0.2,
    }
    # Throttles must count across web processes, so the embedded cache is the database's neighbour on disk.
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(VAR / "cache")}
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # the job row is the truth; the broker only notifies
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "light"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR / "beat-schedule")
# How often the schedule looks for jobs that wait unheard or fell silent, and for leases that ran out.
JOB_REQUEUE_S = _number("NEARER_JOB_REQUEUE_S", 5)
# How much less urgent than the web server a worker is to the machine's scheduler (0 to 19; `man nice`).
WORKER_NICE = _number("NEARER_WORKER_NICE", 10)
# A running job whose worker sent no heartbeat for so long is given to another worker.
JOB_SILENCE_S = _number("NEARER_JOB_SILENCE_S", 20)
# How long the upload and the checkpoints of a failed or cancelled job are kept, so that it can be continued.
KEEP_UPLOADS_S = _number("NEARER_KEEP_UPLOADS_DAYS", 7) * 86_400
# How often open campaigns with new votes are aggregated into labels again (0 = only on demand).
AGGREGATION_EVERY_S = _number("NEARER_AGGREGATION_EVERY_S", 3600)
# How often the annotators and people of open adaptive campaigns are looked at anew, where there are new votes (0 = at aggregations).
JUDGE_EVERY_S = _number("NEARER_JUDGE_EVERY_S", 120)
CELERY_BEAT_SCHEDULE = {
    "jobs-requeue": {"task": "webapp.jobs.tasks.requeue", "schedule": JOB_REQUEUE_S, "options": {"queue": "clock"}},
    "leases-return": {"task": "labeling.tasks.return_expired_leases", "schedule": 30, "options": {"queue": "clock"}},
    "tidy": {"task": "webapp.jobs.tasks.tidy", "schedule": 3600, "options": {"queue": "light"}},
}
if JUDGE_EVERY_S:
    CELERY_BEAT_SCHEDULE["judge"] = {
        "task": "labeling.tasks.judge_open_campaigns",
        "schedule": JUDGE_EVERY_S,
        "options": {"queue": "clock"},
    }
if AGGREGATION_EVERY_S:
    CELERY_BEAT_SCHEDULE["aggregate"] = {
        "task": "labeling.tasks.aggregate_open_campaigns",
        "schedule": AGGREGATION_EVERY_S,
        "options": {"queue": "clock"},
    }

# --- People ---
AUTH_USER_MODEL = "accounts.Account"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
# One-click demo log-ins are printed by `manage.py serve` only when this is on; never in production.
DEMO = _flag("NEARER_DEMO", False) and not PRODUCTION
REGISTRATION_OPEN = _flag("NEARER_REGISTRATION_OPEN", False)
PASSWORD_RESET_TIMEOUT = 86_400
# How often one person may start large pieces of work (imports, aggregations, runs), on pages and API together.
RATE_HEAVY = os.environ.get("NEARER_RATE_HEAVY", "120/hour")
if not re.fullmatch(r"\d{1,6}/(second|minute|hour|day)", RATE_HEAVY):
    raise ImproperlyConfigured(f"NEARER_RATE_HEAVY={RATE_HEAVY!r}: write a number and a time, as in 120/hour")
# E-mail for forgotten passwords: smtp://user:password@host:587?tls=1. Without it admins hand out one-time links.
EMAIL_URL = os.environ.get("EMAIL_URL", "")
if EMAIL_URL:
    _mail = urlsplit(EMAIL_URL)
    if _mail.scheme not in ("smtp", "smtps") or not _mail.hostname:
        raise ImproperlyConfigured("EMAIL_URL: write smtp://user:password@host:587?tls=1, or leave it out")
    EMAIL_HOST, EMAIL_PORT = _mail.hostname, _mail.port or (465 if _mail.scheme == "smtps" else 587)
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
    EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.scheme == "smtps", "tls=1" in _mail.query
    EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = os.environ.get("NEARER_MAIL_FROM", "nearer@localhost")

# --- What may be uploaded ---
MAX_UPLOAD_BYTES = _number("NEARER_MAX_UPLOAD_MB", 4096) * 2**20
MAX_ARCHIVE_BYTES = _number("NEARER_MAX_ARCHIVE_MB", 20480) * 2**20
MAX_ARCHIVE_FILES = _number("NEARER_MAX_ARCHIVE_FILES", 500_000)
MAX_IMAGE_PIXELS = _number("NEARER_MAX_IMAGE_MEGAPIXELS", 64) * 1_000_000
MAX_IMAGE_BYTES = _number("NEARER_MAX_IMAGE_MB", 64) * 2**20
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20  # 10,000 people in full precision, which one prediction takes, are 6
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20
FILE_UPLOAD_TEMP_DIR = VAR / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

# --- Files ---
MEDIA_ROOT = VAR / "media"
STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("NEARER_STATIC", VAR / "static"))
STATICFILES_DIRS = [("nearer", BASE_DIR / "frontend" / "dist")]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_KEEP_ONLY_HASHED_FILES = False  # scripts import their chunks by the names that the bundler gave them

# --- Addresses, processes ---
SITE_HOST = os.environ.get("NEARER_HOST", "127.0.0.1")
SITE_PORT = _number("NEARER_PORT", 8000)
# Where people reach the site, for links that the command line prints.
SITE_URL = os.environ.get("NEARER_URL", f"http://{SITE_HOST}:{SITE_PORT}").rstrip("/")
BEHIND_PROXY = _flag("NEARER_BEHIND_PROXY", False)
# So long a sender of a request may be silent or slow (webapp.serving).
SEND_GRACE_S = _number("NEARER_SEND_GRACE_S", 10)
WEB_PROCESSES = _number("NEARER_WEB_PROCESSES", 2)
WEB_THREADS = _number("NEARER_WEB_THREADS", 4)
# Threads of one training run; 0 lets torch decide.
TORCH_THREADS = _number("NEARER_TORCH_THREADS", 0)

# --- Security ---
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
if PRODUCTION:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = _flag("SECURE_SSL_REDIRECT", True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
    SECURE_HSTS_SECONDS = _number("SECURE_HSTS_SECONDS", 31_536_000)
    # Both bind other sites of the same domain: only who runs them all switches them on.
    SECURE_HSTS_INCLUDE_SUBDOMAINS = _flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
    SECURE_HSTS_PRELOAD = _flag("SECURE_HSTS_PRELOAD", False)
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # they ask for these two
    if BEHIND_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "style-src": ["'self'", "'unsafe-inline'"],  # element.style of plots; no inline scripts anywhere
        "script-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

# --- API ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "webapp.accounts.tokens.TokenAuthentication",
        "webapp.accounts.tokens.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "webapp.schema.Json",
        "rest_framework.parsers.MultiPartParser",
        "rest_framework.parsers.FormParser",
    ],
    "DEFAULT_PAGINATION_CLASS": "webapp.pagination.Pages",
    "PAGE_SIZE": 50,
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["webapp.accounts.throttle.Heavy"],
    "EXCEPTION_HANDLER": "webapp.problems.problem_details",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nearer",
    "DESCRIPTION": "Which joint is closer to the camera? Campaigns, votes, ordinal datasets, 3D pose models.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [],
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # kombu says on every connection that the filesystem broker has no host name.
    "loggers": {"kombu.connection": {"level": "ERROR"}, "django.request": {"level": "ERROR"}},
    "root": {"handlers": ["console"], "level": os.environ.get("NEARER_LOG_LEVEL", "WARNING")},
}
