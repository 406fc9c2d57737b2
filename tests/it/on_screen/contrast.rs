//! How well texts stand out from what is behind them: WCAG 2.2, 1.4.3, with its formula of relative luminance.

use serde_json::Value;

use crate::browser::Page;

/// Colours are mixed by the browser itself, on a canvas: whatever notation a style uses, and however much shines through.
const SCRIPT: &str = r"(() => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
  const brush = canvas.getContext('2d', { willReadFrequently: true });
  const paint = color => { brush.fillStyle = color; brush.fillRect(0, 0, 1, 1); };
  const luminance = () => {
    const linear = [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part =>
      part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  let texts = 0;
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data).join('').trim();
    const box = element.getBoundingClientRect();
    if (!text || box.width < 2 || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (element.closest('option, script, style, :disabled')) continue;
    texts += 1;
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    paint('white');
    layers.forEach(paint);
    const behind = luminance();
    const style = getComputedStyle(element);
    paint(style.color);
    const before = luminance();
    const ratio = (Math.max(before, behind) + 0.05) / (Math.min(before, behind) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
    if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${text.slice(0, 60)} (${style.color})`);
  }
  return { texts, faint };
})()";

/// How many texts there are, and those that are too faint.
#[track_caller]
pub(super) fn of_texts(page: &mut Page) -> (u64, Vec<Value>) {
    let found = page.evaluate(SCRIPT);
    let texts = found["texts"].as_u64().expect("a count");
    (texts, found["faint"].as_array().expect("a list").clone())
}
