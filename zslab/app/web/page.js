// Completes Gradio's components: names for screen readers, keys, limits that are kept while one types, files that are too large.
(() => {
  const inside = (target, selector) => target instanceof Element && target.closest(selector);

  // Gradio refuses a whole selection for one large file; here only that file is left out.
  const withoutLarge = (files) => {
    const large = [...files].filter((file) => file.size > zslabMaxUpload), kept = new DataTransfer();
    [...files].filter((file) => file.size <= zslabMaxUpload).forEach((file) => kept.items.add(file));
    const note = document.querySelector('#zslab-too-large .prose, #zslab-too-large div') || document.querySelector('#zslab-too-large');
    note.replaceChildren();
    if (large.length) {
      const box = document.createElement('p');
      box.className = 'zslab-message zslab-error';
      box.setAttribute('role', 'alert');
      box.textContent = `Left out, larger than ${zslabMaxUpload / 2 ** 20} MB: ${large.map((file) => file.name).join(', ')}`;
      note.append(box);
    }
    return [large.length, kept.files];
  };
  document.addEventListener('change', (event) => {
    if (!inside(event.target, '#zslab-files') || event.target.type !== 'file') return;
    const [left, kept] = withoutLarge(event.target.files);
    if (left && !kept.length) event.stopImmediatePropagation();
    if (left) event.target.files = kept;
  }, true);
  document.addEventListener('drop', (event) => {
    if (!inside(event.target, '#zslab-files') || !event.isTrusted) return;
    const [left, kept] = withoutLarge(event.dataTransfer.files);
    if (!left) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const input = document.querySelector('#zslab-files input[type=file]');
    input.files = kept;
    if (kept.length) input.dispatchEvent(new Event('change', {bubbles: true}));
  }, true);

  document.addEventListener('input', (event) => {
    const input = event.target;
    if (!inside(input, '#zslab-calibration') || input.type !== 'number' || input.value === '') return;
    const value = Math.min(Number(input.max), Math.max(Number(input.min), Number(input.value)));
    if (value !== Number(input.value)) input.value = value;
  }, true);

  const name = () => {
    document.querySelectorAll('.search-input:not([aria-label])').forEach((box) => box.setAttribute('aria-label', 'Search the attributes'));
    document.querySelectorAll('div.wrapper[aria-label]:not([role])').forEach((cell) => cell.removeAttribute('aria-label'));
  };
  new MutationObserver(name).observe(document, {childList: true, subtree: true});
})();
