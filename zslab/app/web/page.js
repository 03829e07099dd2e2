// Completes Gradio's components: names for screen readers, keys, limits that are kept while one types, files that are too large.
(() => {
  const inside = (target, selector) => target instanceof Element && target.closest(selector);

  // Gradio refuses a whole selection for one large file; here only that file is left out.
  const isLarge = (file) => file.size > zslabMaxUpload;
  const withoutLarge = (files) => {
    const kept = new DataTransfer();
    [...files].filter((file) => !isLarge(file)).forEach((file) => kept.items.add(file));
    return kept.files;
  };
  const tellOf = (large) => {
    const note = document.querySelector('#zslab-too-large .html-container');
    note.replaceChildren();
    if (!large.length) return;
    const box = document.createElement('p');
    box.className = 'zslab-message zslab-error';
    box.setAttribute('role', 'alert');
    box.textContent = `Left out, larger than ${zslabMaxUpload / 2 ** 20} MB: ${large.map((file) => file.name).join(', ')}`;
    note.append(box);
  };
  document.addEventListener('change', (event) => {
    const input = event.target;
    if (!inside(input, '#zslab-files') || input.type !== 'file') return;
    const large = [...input.files].filter(isLarge), kept = withoutLarge(input.files);
    tellOf(large);
    if (large.length && !kept.length) event.stopImmediatePropagation();
    if (large.length) input.files = kept;
  }, true);
  document.addEventListener('drop', (event) => {
    if (!inside(event.target, '#zslab-files') || !event.isTrusted) return;
    const large = [...event.dataTransfer.files].filter(isLarge), kept = withoutLarge(event.dataTransfer.files);
    if (!large.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const input = document.querySelector('#zslab-files input[type=file]');
    input.files = kept;
    if (kept.length) input.dispatchEvent(new Event('change', {bubbles: true}));
    tellOf(large);
  }, true);

  // Of the calibration's number: a value beyond the slider becomes its end, and an empty field changes nothing.
  const isNumber = (input) => inside(input, '#zslab-calibration') && input.type === 'number';
  document.addEventListener('input', (event) => {
    const input = event.target;
    if (!isNumber(input)) return;
    if (input.value === '') return event.stopImmediatePropagation();
    const value = Math.min(Number(input.max), Math.max(Number(input.min), Number(input.value)));
    if (value !== Number(input.value)) input.value = value;
  }, true);
  document.addEventListener('change', ({target}) => {
    if (isNumber(target) && target.value === '') target.value = document.querySelector('#zslab-calibration input[type=range]').value;
  }, true);

  // Of an attribute's values Tab reaches one, and arrow keys the others: a class may have hundreds.
  const fieldsOf = (target) => inside(target, '.zslab-fields');
  const valuesOf = (fields) => [...fields.querySelectorAll('li:not([hidden]) .zslab-value')];
  const reach = (fields, value) => {
    fields.querySelectorAll('.zslab-value[tabindex="0"]').forEach((each) => { each.tabIndex = -1; });
    if (value) value.tabIndex = 0;
  };
  document.addEventListener('focusin', ({target}) => {
    if (!inside(target, '.zslab-value')) return;
    reach(fieldsOf(target), target);
    target.select();
  });
  document.addEventListener('keydown', (event) => {
    const step = {ArrowUp: -1, ArrowDown: 1, Enter: 1}[event.key];
    if (!step || !inside(event.target, '.zslab-value')) return;
    const values = valuesOf(fieldsOf(event.target));
    values[values.indexOf(event.target) + step]?.focus();
    event.preventDefault();
  });
  document.addEventListener('input', ({target}) => {
    const fields = fieldsOf(target);
    if (!fields || target.type !== 'search') return;
    const part = target.value.trim().toLowerCase();
    fields.querySelectorAll('li').forEach((each) => { each.hidden = !each.innerText.toLowerCase().includes(part); });
    reach(fields, valuesOf(fields)[0]);
  });

  // A list is searched when its text has changed; at other keys its answer would undo what arrow keys have chosen.
  let searched = '';
  document.addEventListener('focusin', ({target}) => {
    if (inside(target, '[role=combobox]')) searched = target.value;
  });
  document.addEventListener('keyup', (event) => {
    if (!inside(event.target, '[role=combobox]')) return;
    if (event.target.value === searched) event.stopImmediatePropagation();
    searched = event.target.value;
  }, true);

  const name = () => {
    // Gradio gives each radio button a name of its own, and no arrow key leads from one to the next.
    document.querySelectorAll('#zslab-choice input[type=radio]').forEach((radio) => { radio.name = 'zslab-choice'; });
    // Gradio nests a button in the button that adds images: the outer one is kept.
    document.querySelectorAll('#zslab-files .icon-button .upload-container:not(:disabled)').forEach((inner) => {
      const outer = inner.closest('.icon-button'), input = inner.querySelector('input');
      inner.disabled = true;
      outer.ariaLabel = outer.title = 'Add images';
      outer.addEventListener('click', (event) => event.target !== input && input.click());
    });
  };
  new MutationObserver(name).observe(document, {childList: true, subtree: true});
})();
