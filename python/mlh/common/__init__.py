"""What every room uses: units, timing, files."""
