"""The ladder of masks of a path: searched, scored and stored level by level."""
