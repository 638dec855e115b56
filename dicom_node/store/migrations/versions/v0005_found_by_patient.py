"""Series are listed by time and study, and found by keyed digests of patient and accession number."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """The columns are empty for what is there: the next start reads them from the files. An older version leaves them
    empty too.
    """
    op.add_column("series", sa.Column("modality", sa.String()))
    op.add_column("series", sa.Column("patient_key", sa.String()))
    op.add_column("series", sa.Column("accession_key", sa.String()))
    op.create_index("ix_series_last_received", "series", ["last_received", "series_instance_uid"])
    op.create_index("ix_series_study", "series", ["study_instance_uid", "last_received", "series_instance_uid"])
    op.create_index("ix_series_state", "series", ["state"])
    op.create_index("ix_series_patient_key", "series", ["patient_key"])
    op.create_index("ix_series_accession_key", "series", ["accession_key"])
