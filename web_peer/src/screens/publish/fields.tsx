import type { ComponentChildren } from "preact";
import type { Form } from "./draft";
import { TEMPLATES } from "./templates";

interface FieldsProps {
  readonly form: Form;
  readonly change: (part: Partial<Form>) => void;
  readonly fault: { readonly field: keyof Form; readonly sentence: string } | null;
}

/** The form of a task written in the page. */
export function Fields({ form, change, fault }: FieldsProps) {
  const text = (field: Exclude<keyof Form, "cut" | "replication">, label: string, hint = "", rows = 0) => (
    <Field field={field} label={label} hint={hint} fault={fault}>
      {rows === 0 ? (
        <input
          id={`field-${field}`}
          value={form[field]}
          {...describe(field, hint, fault)}
          onInput={(event) => change({ [field]: event.currentTarget.value })}
        />
      ) : (
        <textarea
          id={`field-${field}`}
          rows={rows}
          class={field === "source" ? "code" : undefined}
          spellcheck={field !== "source"}
          value={form[field]}
          {...describe(field, hint, fault)}
          onInput={(event) => change({ [field]: event.currentTarget.value })}
        />
      )}
    </Field>
  );
  return (
    <>
      <section class="card">
        <h2>What it is</h2>
        {text("name", "Name")}
        {text("description", "Description", "What for, in plain words. Volunteers decide by it.", 3)}
        {text("link", "Link to more (may be empty)")}
      </section>
      <section class="card">
        <h2>Code</h2>
        <p>
          One function, called once for each chunk. It has no network, no page, no clock; <code>Math.random</code> is
          the same on every device. It returns bytes, a text, or a value that JSON can write.
        </p>
        <Field field="source" label="Begin with an example" hint="" fault={null} id="template">
          <select
            id="template"
            onChange={(event) => {
              const template = TEMPLATES[event.currentTarget.selectedIndex];
              if (template !== undefined) change({ source: template.source, cut: template.cut });
            }}
          >
            {TEMPLATES.map((template) => (
              <option key={template.title}>{template.title}</option>
            ))}
          </select>
        </Field>
        {text("source", "JavaScript", "", 18)}
      </section>
      <section class="card">
        <h2>How it is cut into chunks</h2>
        <fieldset class="ways">
          <legend class="unseen">Kind of cut</legend>
          <label>
            <input type="radio" name="cut" checked={form.cut === "range"} onChange={() => change({ cut: "range" })} />
            <span>A range of numbers</span>
          </label>
          <label>
            <input type="radio" name="cut" checked={form.cut === "grid"} onChange={() => change({ cut: "grid" })} />
            <span>Tiles of a picture</span>
          </label>
        </fieldset>
        <div class="fields">
          {form.cut === "range" ? (
            <>
              {text("start", "First number")}
              {text("stop", "End (not included)")}
              {text("step", "Numbers in a chunk")}
            </>
          ) : (
            <>
              {text("width", "Width in pixels")}
              {text("height", "Height in pixels")}
              {text("tile", "Side of a tile")}
            </>
          )}
        </div>
      </section>
      <section class="card">
        <h2>Limits and trust</h2>
        <div class="fields">
          {text("seconds", "Seconds for a chunk")}
          {text("memoryMb", "Memory in MB")}
          {text("outputKb", "Largest result in kB")}
          <Field field="replication" label="Devices for each chunk" hint="" fault={fault}>
            <select
              id="field-replication"
              value={form.replication}
              onChange={(event) => change({ replication: event.currentTarget.value as Form["replication"] })}
            >
              <option value="1">1, and blind checks</option>
              <option value="2">2 must agree</option>
              <option value="3">3 must agree</option>
            </select>
          </Field>
          {text("eps", "Share of wrong results tolerated", "0.01 is one in a hundred; less means more checks.")}
        </div>
      </section>
    </>
  );
}

interface FieldProps {
  readonly field: keyof Form;
  readonly label: string;
  readonly hint: string;
  readonly fault: FieldsProps["fault"];
  readonly id?: string;
  readonly children: ComponentChildren;
}

function Field({ field, label, hint, fault, id = `field-${field}`, children }: FieldProps) {
  const isFaulty = fault?.field === field;
  return (
    <div class="field" data-bad={isFaulty}>
      <label for={id}>{label}</label>
      {children}
      {hint !== "" && (
        <small id={`hint-${field}`} class="faint">
          {hint}
        </small>
      )}
      {isFaulty && (
        <small id={`fault-${field}`} class="refusal">
          {fault.sentence}
        </small>
      )}
    </div>
  );
}

/** What screen readers add to a field: its hint, and what is wrong with it. */
function describe(field: keyof Form, hint: string, fault: FieldsProps["fault"]): Record<string, string | boolean> {
  const isFaulty = fault?.field === field;
  const parts = [hint === "" ? "" : `hint-${field}`, isFaulty ? `fault-${field}` : ""].filter((part) => part !== "");
  return { "aria-invalid": isFaulty, ...(parts.length > 0 && { "aria-describedby": parts.join(" ") }) };
}
