"""Generated from protos/ by protos/generate.sh; never edited by hand, never committed."""
