"""report.html: what a working directory holds, as one file that needs nothing else.

`markup.py` is the only way from text to HTML, `chart.py` draws, `frame.py` puts sections into a page whose
content security policy allows its own style and script and nothing else.
"""
