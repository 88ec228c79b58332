"""REST doors to accounts and tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.accounts import people, tokens
from webapp.accounts.models import Account, ApiToken, AuditEntry
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import Role, require
from webapp.accounts.tokens import ScopeByMethod
from webapp.errors import NotAllowed
from webapp.typed import read


class AccountShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)

    class Meta:
        model = Account
        fields = ["id", "username", "role", "is_active", "is_simulated", "date_joined"]


class AccountRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    username: str = Field(min_length=1, max_length=150)
    password: str = Field(min_length=8, max_length=200)
    role: str = "annotator"


class AccountChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: str | None = None
    is_active: bool | None = None


class MeView(APIView):
    permission_classes = [ScopeByMethod]

    @extend_schema(operation_id="me", responses=AccountShape)
    def get(self, request: Request) -> Response:
        """Who you are."""
        return Response(AccountShape(request.user).data)


class Accounts(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    request: ApiRequest
    queryset = Account.objects.none()
    permission_classes = [ScopeByMethod]
    serializer_class = AccountShape
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"
    filterset_fields = ["role", "is_active"]

    def get_queryset(self) -> QuerySet[Account]:
        if not self.request.user.is_one_of(Role.ADMIN):
            return Account.objects.filter(pk=self.request.user.pk).order_by("pk")
        return Account.objects.order_by("pk")

    @extend_schema(request=AccountRequest, responses={201: AccountShape})
    def create(self, request: ApiRequest) -> Response:
        """Make an account (admins)."""
        require(request.user, Role.ADMIN)
        asked = read(AccountRequest, request.data)
        account = people.create(request.user, **asked.model_dump())
        return Response(AccountShape(account).data, 201)

    @extend_schema(request=AccountChange, responses=AccountShape)
    def partial_update(self, request: ApiRequest, id: UUID) -> Response:
        """Change a role, or switch an account off or on (admins)."""
        require(request.user, Role.ADMIN)
        asked = read(AccountChange, request.data)
        return Response(
            AccountShape(people.change(request.user, self.get_object(), role=asked.role, active=asked.is_active)).data
        )


class AuditShape(serializers.ModelSerializer):
    actor = serializers.CharField(source="actor.username", default=None, allow_null=True)

    class Meta:
        model = AuditEntry
        fields = ["id", "at", "actor", "verb", "thing", "thing_id", "details"]


class Audit(mixins.ListModelMixin, viewsets.GenericViewSet):
    """Who did what, newest first (admins)."""

    request: ApiRequest
    queryset = AuditEntry.objects.none()
    permission_classes = [ScopeByMethod]
    serializer_class = AuditShape
    filterset_fields = ["verb", "thing", "thing_id"]

    def get_queryset(self) -> QuerySet[AuditEntry]:
        require(self.request.user, Role.ADMIN)
        return AuditEntry.objects.select_related("actor").order_by("-pk")


class TokenShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)

    class Meta:
        model = ApiToken
        fields = ["id", "name", "scopes", "created_at", "last_used_at", "revoked_at"]


class TokenRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=80)
    scopes: list[str] = Field(min_length=1, max_length=3, description="of read, write, annotate")


class TokenMade(TokenShape):
    token = serializers.CharField(help_text="shown this once")

    class Meta(TokenShape.Meta):
        fields = [*TokenShape.Meta.fields, "token"]


class Tokens(mixins.ListModelMixin, viewsets.GenericViewSet):
    request: ApiRequest
    queryset = ApiToken.objects.none()
    permission_classes = [ScopeByMethod]
    serializer_class = TokenShape
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(account=self.request.user)

    @extend_schema(request=TokenRequest, responses={201: TokenMade})
    def create(self, request: ApiRequest) -> Response:
        """Make a token for yourself. Its text is in this answer and never again."""
        asked = read(TokenRequest, request.data)
        if isinstance(request.auth, ApiToken) and set(asked.scopes) - set(request.auth.scopes):
            raise NotAllowed("A token cannot make one that may do more.", field="scopes", fix="sign in with a password")
        token, text = tokens.issue(request.user, name=asked.name, scopes=asked.scopes)
        data: dict[str, Any] = TokenShape(token).data | {"token": text}
        return Response(data, 201)

    @extend_schema(responses={204: None})
    def destroy(self, request: ApiRequest, id: UUID) -> Response:
        """Revoke a token."""
        tokens.revoke(request.user, self.get_object())
        return Response(status=204)
