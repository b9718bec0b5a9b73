"""What the tests with real servers and clients share."""

from tests.catalogue import no_dimension_is_left_out_of_the_catalogue  # noqa: F401
