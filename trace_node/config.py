"""Settings: name, type, unit, default, help; the one table of them.

Read from ``DIR/node.toml``, then ``TRACE_NODE_*`` environment variables, then
flags; the later wins. Limits are settings, so that an operator can see and
change them; what formats.md freezes is not.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from trace_node.errors import Misuse

FILE = "node.toml"


class Settings(BaseSettings):
    """A center's settings."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="TRACE_NODE_", extra="forbid", frozen=True
    )

    origin: str = Field(
        pattern=r"^[a-z0-9.\-]+(:[0-9]{1,5})?(/[a-z0-9._~\-]+)*/log$",
        max_length=255,
        description="the log's name: schemeless URL prefix, HOST[:PORT]/log",
    )
    name: str = Field(
        default="A traceability center",
        min_length=1,
        max_length=200,
        description="the center's name for people",
    )
    passphrase: str | None = Field(
        default=None, description="opens the key files; better in the environment"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on")
    tls_cert: Path | None = Field(
        default=None, description="PEM chain to serve HTTPS with; from DIR on"
    )
    tls_key: Path | None = Field(
        default=None, description="PEM key of the certificate, not encrypted"
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="processes that serve; 2 need PostgreSQL"
    )
    stop_seconds: float = Field(
        default=10.0, gt=0, le=600, description="seconds a graceful stop may take"
    )
    connections: int = Field(
        default=4_096, ge=1, description="connections a worker holds; idle ones yield"
    )
    connections_each: int = Field(
        default=1_024, ge=1, description="the same of one client address"
    )
    log: Literal["auto", "json", "text"] = Field(
        default="auto", description="form of the log; auto: text on a terminal"
    )
    access_log: Literal["off", "problems", "all"] = Field(
        default="problems", description="requests that are logged"
    )
    access_every: int = Field(
        default=1, ge=1, description="of all the others, one in so many"
    )
    slow_seconds: float = Field(
        default=1.0, gt=0, description="seconds that make a request a problem"
    )

    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql+psycopg://…; empty: SQLite in the center's folder",
    )
    database_accept: str = Field(
        default="",
        pattern=r"^((no-fsync|no-checksums|no-standby)(,|$))*$",
        description="risks of that server taken on purpose: no-fsync, no-checksums, "
        "no-standby, joined by commas",
    )
    database_seconds: float = Field(
        default=10.0, ge=1.0, le=600.0, description="seconds for one SQL statement"
    )

    entry_bytes: int = Field(
        default=65_535, le=65_535, ge=1_024, description="bytes of one statement"
    )
    record_bytes: int = Field(
        default=1_048_576, le=1_048_576, ge=1_024, description="bytes of one record"
    )
    submission_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="bytes of one item of /submissions"
    )
    staged_bytes: int = Field(
        default=1 << 30, ge=1 << 20, description="bytes of records not registered yet"
    )
    staged_hours: int = Field(
        default=24, ge=1, description="hours that a record may wait to be registered"
    )
    waiting_seconds: float = Field(
        default=0.4, gt=0, description="longest wait in line; beyond it writes are shed"
    )
    waiting_entries: int = Field(
        default=65_536, ge=1, description="statements in line, whatever they wait"
    )
    waiting_bytes: int = Field(
        default=256 << 20, ge=1 << 20, description="the same in bytes"
    )
    body_seconds: float = Field(
        default=15.0, gt=0, description="seconds without a byte of a body: 408"
    )
    publish_seconds: float = Field(
        default=1.0, ge=1.0, description="seconds between published checkpoints"
    )
    blobs: str = Field(
        default="",
        max_length=1_024,
        description="tiles and large records: s3://BUCKET[/PREFIX]; empty: the folder",
    )
    clock_leap_seconds: int = Field(
        default=3_600, ge=60, description="seconds the clock may leap: no ticks beyond"
    )
    clock_idle_days: int = Field(
        default=90, ge=1, description="days without an entry before the clock is asked"
    )
    scrub_entries: int = Field(
        default=32,
        ge=0,
        le=100_000,
        description="entries a second that are read again to find damage; 0: none",
    )
    free_bytes: int = Field(
        default=256 << 20, ge=0, description="free disk below which writes are shed"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags over environment over file."""
        del dotenv_settings, file_secret_settings
        file = settings_cls.model_config.get("toml_file")
        sources = [init_settings, env_settings]
        if file:
            sources.append(TomlConfigSettingsSource(settings_cls, file))
        return tuple(sources)


def load(folder: Path, **flags: Any) -> Settings:
    """Return the settings of the center in ``folder``.

    Raises:
        Misuse: no center there, or a setting is wrong.
    """
    file = folder / FILE
    if not file.is_file():
        raise Misuse(f"no center in {folder}: `trace-node init {folder}` makes one")
    given = {name: value for name, value in flags.items() if value is not None}
    return build(file, given)


def build(file: Path | None, given: dict[str, Any]) -> Settings:
    """Return settings from flags, environment and an optional file.

    Raises:
        Misuse: a setting is wrong.
    """

    class Sourced(Settings):
        model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(toml_file=file)

    try:
        return Sourced(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Misuse(f"setting {where}: {first['msg']}") from None
    except ValueError as error:
        raise Misuse(f"{file}: {error}") from None
