"""A large answer of the database as a DataFrame, by COPY: it takes half the time of a fetch.

Text, numbers and timestamps without time zone only; a text that is empty reads as none.

Source: https://www.postgresql.org/docs/current/sql-copy.html
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

_TIME, _TEXTS = 1114, (25, 1042, 1043)  # type numbers of the server, which never change


def copy_out(database: sqlalchemy.Engine, query: str, **values: Any) -> pd.DataFrame:
    """The rows of a query, whose values are written `%(name)s`; types as the server names them."""
    import pandas as pd

    answer = io.BytesIO()
    with database.connect() as connection:
        cursor: Any = connection.connection.cursor()  # the driver's own: SQLAlchemy has no COPY
        asked = cursor.mogrify(query, values).decode()
        cursor.execute(f"SELECT * FROM ({asked}) AS asked LIMIT 0")  # noqa: S608  ours
        types = {column.name: column.type_code for column in cursor.description}
        cursor.copy_expert(f"COPY ({asked}) TO STDOUT (FORMAT csv, HEADER)", answer)
    answer.seek(0)
    frame = pd.read_csv(
        answer,
        dtype={name: "str" for name, code in types.items() if code in (*_TEXTS, _TIME)},
        keep_default_na=False,
        na_values=[""],
    )
    for name in (name for name, code in types.items() if code == _TIME):
        frame[name] = pd.to_datetime(frame[name], format="ISO8601").astype("datetime64[us]")
    return frame
