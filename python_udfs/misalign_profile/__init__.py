"""misalign-profile: the Python half of the warehouse (text and models; SQL does the sets).

Import order, left never imports right:
types, errors -> config, text, prompts, rules, engines, journal -> inference -> sampler -> steps ->
plugin, cli.
"""

__version__ = "0.1.0"
