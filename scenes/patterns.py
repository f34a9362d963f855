"""The patterns that a surface can be painted with: numbers for `records.Surface.pattern`, drawn by render's shader."""

(
    PLAIN,
    MELANGE,  # fine noise of both colours: knit, hair
    STRIPES,  # across the body
    PINSTRIPES,  # along the body, thin
    CHECKS,
    BLOCK,  # upper part in colour, lower part in colour2, one line at paint y = 1 / frequency
    PRINT,  # plain with a blob of colour2 on the chest
    DOTS,
    DENIM,
    CAMOUFLAGE,
    PAVING,  # of places, from here on: world coordinates in paint
    PLASTER,
    BRICK,
    WINDOW,
    TILES,
    PARQUET,
    CARPET,
    GRASS,
    ASPHALT,
    METAL,
    FACE,  # skin with brows, eyes and lips where they belong
) = range(21)
