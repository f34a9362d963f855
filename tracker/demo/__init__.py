"""The demo: three rendered clips with truth and calibration (package data)."""
