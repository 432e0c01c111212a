"""The tables, as SQLModel classes; alembic compares them with the migrations.

Two databases, two registries: ``CenterTable`` for what must never be lost
(``center.db``) and ``IndexTable`` for what a follower can rebuild
(``index.db``). Rows stay in ``store``: a SQLModel table does not validate, so
it is no domain object. The hot paths write through precompiled statements made
from these same tables (``store.log``), never through the ORM.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class CenterTable(
    SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))
):
    """Base of the tables in center.db."""


class IndexTable(
    SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))
):
    """Base of the tables in index.db."""


class Log(CenterTable, table=True):
    """A log this center writes or mirrors; today its own, with id 1."""

    __tablename__ = "log"
    id: int = Field(primary_key=True)
    origin: str = Field(unique=True, max_length=255)


class LogHead(CenterTable, table=True):
    """The one row a sequencer locks: where the log ends.

    ``frontier`` holds the compact range's hashes one after another, so that a
    start reads one row and not the log. ``epoch`` counts commits; the update
    names the epoch it read, so a second writer cannot slip between.
    """

    __tablename__ = "log_head"
    log: int = Field(primary_key=True, foreign_key="log.id")
    size: int = Field(sa_type=BigInteger)
    epoch: int = Field(sa_type=BigInteger)
    frontier: bytes = Field(sa_type=LargeBinary)


class Head(CenterTable, table=True):
    """One commit's end: the root that its receipts share, and their signature."""

    __tablename__ = "head"
    __table_args__: ClassVar = {"sqlite_with_rowid": False}
    log: int = Field(primary_key=True, foreign_key="log.id")
    size: int = Field(primary_key=True, sa_type=BigInteger)
    root: bytes = Field(sa_type=LargeBinary)
    receipt_protected: bytes = Field(sa_type=LargeBinary)
    receipt_signature: bytes = Field(sa_type=LargeBinary)


class Published(CenterTable, table=True):
    """The checkpoint that the world sees; its tiles are durable.

    ``second`` is when it was published (Unix), so that several processes together
    publish no more often than one.
    """

    __tablename__ = "published"
    log: int = Field(primary_key=True, foreign_key="log.id")
    size: int = Field(sa_type=BigInteger)
    second: int = Field(sa_type=BigInteger)
    note: bytes = Field(sa_type=LargeBinary)


class Entry(CenterTable, table=True):
    """One log entry. ``kind`` 0 record, 1 manifest, 2 tick, 3 governance.

    ``kind`` and ``recorded`` are hints for quick reading; an audit derives both
    from ``statement`` and does not believe the columns.
    """

    __tablename__ = "entry"
    __table_args__: ClassVar = (
        Index("uq_entry_log_identity", "log", "identity", unique=True),
        Index(
            "ix_entry_governance",
            "log",
            "entry_index",
            sqlite_where=text("kind = 3"),
            postgresql_where=text("kind = 3"),
        ),
        {"sqlite_with_rowid": False},
    )
    log: int = Field(primary_key=True, foreign_key="log.id")
    entry_index: int = Field(primary_key=True, sa_type=BigInteger)
    kind: int
    recorded: int = Field(sa_type=BigInteger)
    identity: bytes = Field(sa_type=LargeBinary)
    statement: bytes = Field(sa_type=LargeBinary)


class Manifest(CenterTable, table=True):
    """The record digests of a manifest entry in order, 32 bytes each."""

    __tablename__ = "manifest"
    log: int = Field(primary_key=True, foreign_key="log.id")
    entry_index: int = Field(primary_key=True, sa_type=BigInteger)
    digests: bytes = Field(sa_type=LargeBinary)


class Record(CenterTable, table=True):
    """A record's bytes, by digest.

    ``content`` is NULL when the bytes are a file (over 64 KiB).
    ``staged`` is the second it came in while no entry names it yet, else NULL.
    """

    __tablename__ = "record"
    __table_args__: ClassVar = (
        Index(
            "ix_record_staged",
            "staged",
            sqlite_where=text("staged IS NOT NULL"),
            postgresql_where=text("staged IS NOT NULL"),
        ),
    )
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    size: int
    staged: int | None = Field(default=None, sa_type=BigInteger)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)


class Cursor(IndexTable, table=True):
    """How far the follower has read a log."""

    __tablename__ = "cursor"
    log: int = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)


class Commitment(IndexTable, table=True):
    """Which entry speaks of which record; ``position`` inside its manifest."""

    __tablename__ = "commitment"
    __table_args__: ClassVar = {"sqlite_with_rowid": False}
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    log: int = Field(primary_key=True)
    entry_index: int = Field(primary_key=True, sa_type=BigInteger)
    position: int


class GovernanceSubject(IndexTable, table=True):
    """Which governance entries are about whom; the policy is about "" (all)."""

    __tablename__ = "governance_subject"
    __table_args__: ClassVar = {"sqlite_with_rowid": False}
    subject: str = Field(primary_key=True, max_length=255)
    log: int = Field(primary_key=True)
    entry_index: int = Field(primary_key=True, sa_type=BigInteger)
