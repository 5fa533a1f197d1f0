"""The version of the package, told once to files and reports."""

VERSION = "0.2.0"
