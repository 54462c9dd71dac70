"""The peer of the bulk benchmarks: rows loaded the way CockroachDB's tutorial for SQLAlchemy does it.

    pip install sqlalchemy sqlalchemy-cockroachdb psycopg2-binary
    python peer.py URL accounts|points COUNT CHUNK

URL is postgresql://… or cockroachdb://…; the schema is there and the tables are empty. Each chunk is drawn, then
saved by `bulk_save_objects` inside `run_transaction`. It prints one line of JSON: {"rows": N, "seconds": S}.
The seconds go from the first insert to the last commit, the drawing of the chunks between them included;
connecting and choosing unique ids are left out.
"""

import json
import random
import sys
import time

from sqlalchemy import BigInteger, Double, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy_cockroachdb import run_transaction


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    # created_at is not mapped: the database gives it.
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    balance: Mapped[int] = mapped_column(BigInteger)
    opening_balance: Mapped[int] = mapped_column(BigInteger)


class Point(Base):
    __tablename__ = "points"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # given by the database
    x: Mapped[float] = mapped_column(Double)
    y: Mapped[float] = mapped_column(Double)
    z: Mapped[float] = mapped_column(Double)


def account(id: int) -> Account:
    balance = random.randrange(1_000_000)
    return Account(id=id, balance=balance, opening_balance=balance)


def point(_: int) -> Point:
    return Point(x=random.uniform(0, 1024), y=random.uniform(0, 1024), z=random.uniform(0, 1024))


def main(url: str, table: str, count: int, chunk: int) -> None:
    # Unique in the whole run. Points get their ids from the database and need only the count.
    ids = random.sample(range(1_000_000_000), count) if table == "accounts" else range(count)
    make = {"accounts": account, "points": point}[table]

    engine = create_engine(url)
    engine.connect().close()  # The pool keeps it open.
    sessions = sessionmaker(engine)
    started = None
    for first in range(0, count, chunk):
        rows = [make(id) for id in ids[first : first + chunk]]
        started = started or time.perf_counter()
        # Works on PostgreSQL too: its savepoint is a plain one there.
        run_transaction(sessions, lambda session: session.bulk_save_objects(rows))
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": count, "seconds": round(seconds, 6)}))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    _, url, table, count, chunk = sys.argv
    main(url, table, int(count), int(chunk))
