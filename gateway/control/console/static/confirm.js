// Typed confirmation: a form's submit button stays disabled until [data-confirm-text] holds exactly the text it asks for.

function isRight(input) {
  return input.dataset.confirmText !== "" && input.value.trim() === input.dataset.confirmText;
}

/** Enables or disables the submit buttons of a form by what was typed. */
export function updateConfirmations(form) {
  const inputs = [...form.querySelectorAll("[data-confirm-text]")];
  if (inputs.length === 0) return;
  for (const button of form.querySelectorAll("[type=submit]")) button.disabled = !inputs.every(isRight);
}

export function start() {
  for (const form of document.forms) updateConfirmations(form);
  document.addEventListener("input", (event) => {
    if (event.target.form && "confirmText" in event.target.dataset) updateConfirmations(event.target.form);
  });
  document.addEventListener("reset", (event) => setTimeout(() => updateConfirmations(event.target)));
  // Enter in the only field would submit past a disabled button in some browsers.
  document.addEventListener(
    "submit",
    (event) => {
      if ([...event.target.querySelectorAll("[data-confirm-text]")].every(isRight)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );
}
