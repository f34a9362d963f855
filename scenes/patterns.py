"""The patterns that a surface can be painted with: numbers for `records.Surface.pattern`, drawn by render's shader."""

(
    PLAIN,
    MELANGE,  # fine noise of both colours: knit, hair
    STRIPES,  # across the body
    PINSTRIPES,  # along the body, thin
    CHECKS,
    BLOCK,  # upper part in colour, lower part in colour2, one line at paint y = 1 / frequency
    PRINT,  # plain, with a motif of colour2 of radius 1 / frequency about paint's origin, where paint z > 0: the chest
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
    # Skin in colour, brows in colour2; in paint the pupils are at (+-0.030, 0), brows at y 0.023, mouth at y -0.068.
    FACE,
) = range(21)
