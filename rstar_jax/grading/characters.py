r"""Characters that mean the same as others, as ASCII or LaTeX: `x² ≤ ½` as `x^{2} \le 1/2`."""

# ruff: noqa: RUF001
# Signs that a reader could mistake for each other are the subject here.
from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPT, _SUBSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿⁱˣ", "₀₁₂₃₄₅₆₇₈₉ₙₓ"
_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑﹣－", "-"),
        **dict.fromkeys("×✕", r"\times "),
        **dict.fromkeys("·⋅∙•", r"\cdot "),
        **dict.fromkeys("∕⁄／", "/"),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff\u2061\u2062", ""),
        **dict.fromkeys("\u00a0\u2009\u202f\u2002\u2003\t\r\n\v\f", " "),
        **dict.fromkeys("″”“", '"'),
        **dict.fromkeys("′’‘", "'"),
        **dict.fromkeys("￡", "£"),
        **dict.fromkeys("¢￠", " cents"),
        **dict.fromkeys("￥", "¥"),
        **{"÷": "/", "∗": "*", "＊": "*", "＋": "+", "＝": "=", "，": ",", "．": ".", "：": ":", "；": ";"},
        **{
            "（": "(",
            "）": ")",
            "［": "[",
            "］": "]",
            "｛": r"\{",
            "｝": r"\}",
            "％": "%",
            "⟨": "(",
            "⟩": ")",
        },
        **{"π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx "},
        **{
            "∪": r"\cup ",
            "∩": r"\cap ",
            "∅": r"\emptyset ",
            "Ø": r"\emptyset ",
            "∈": r"\in ",
            "∖": r"\setminus ",
        },
        **{"±": r"\pm ", "∓": r"\mp ", "∠": r"\angle ", "△": r"\triangle ", "°": r"^\circ ", "º": r"^\circ "},
        **{
            "ℝ": r"\mathbb{R}",
            "ℤ": r"\mathbb{Z}",
            "ℕ": r"\mathbb{N}",
            "ℚ": r"\mathbb{Q}",
            "ℂ": r"\mathbb{C}",
        },
        **{
            "θ": r"\theta ",
            "α": r"\alpha ",
            "β": r"\beta ",
            "γ": r"\gamma ",
            "λ": r"\lambda ",
            "φ": r"\phi ",
        },
        **{"ω": r"\omega ", "μ": r"\mu ", "σ": r"\sigma ", "Δ": r"\Delta ", "∑": r"\sum ", "∫": r"\int "},
        **{"…": r"\ldots ", "⋯": r"\ldots ", "｜": "|", "∣": "|", "≡": r"\equiv ", "→": r"\to "},
    }
)


def plain(text: str) -> str:
    """The text in ASCII as far as it goes, one space at most between two characters."""
    # `2½` -> `2 ½`
    text = re.sub(r"(?<=\d)(?=[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒])", " ", text)
    # `x¹⁰` -> `x^{10}`
    text = re.sub(f"[{_SUPERSCRIPT}]+", lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    # `x₁₂` -> `x_{12}`
    text = re.sub(f"[{_SUBSCRIPT}]+", lambda m: f"_{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = "".join(_plain_character(c) for c in text) if not text.isascii() else text
    # `√2`, `√(x+1)` -> `\sqrt{2}`, `\sqrt{(x+1)}`
    text = re.sub(r"√ *(\d+|[a-zA-Z]|\([^()]*\)|\{[^{}]*\})", r"\\sqrt{\1}", text)
    # `∛x` -> `\sqrt[3]{x}`
    text = re.sub(r"∛ *(\d+|[a-zA-Z]|\([^()]*\))", r"\\sqrt[3]{\1}", text)
    return re.sub(r" +", " ", text.translate(_SYMBOLS)).strip()


def _plain_character(c: str) -> str:
    kind = unicodedata.category(c)
    if kind == "Nd":  # a digit of any script
        return str(unicodedata.digit(c))
    if "①" <= c <= "⑳":
        return rf"\textcircled{{{unicodedata.digit(c, 0) or unicodedata.normalize('NFKC', c)}}}"
    if kind == "No" or "\uff21" <= c <= "\uff5a" or "\U0001d400" <= c <= "\U0001d7ff":
        return unicodedata.normalize("NFKC", c).replace("\u2044", "/")
    return c
