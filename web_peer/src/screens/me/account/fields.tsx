import { useEffect, useState } from "preact/hooks";
import { Refusal, useAsking } from "../../../widgets/action";
import { Avatar } from "../../../widgets/avatar";
import { smallPicture } from "./picture";

/** As protocol/accounts.ts has it, which the page itself does not load. */
const NAME_CHARACTERS_MAX = 40;

interface NameProps {
  readonly label: string;
  readonly value: string;
  readonly change: (value: string) => void;
}

/** A name as an account gives one: to itself or to a device. */
export function NameField({ label, value, change }: NameProps) {
  return (
    <label class="field">
      {label}
      <input
        value={value}
        maxLength={NAME_CHARACTERS_MAX}
        autocomplete="off"
        onInput={(event) => change(event.currentTarget.value)}
      />
    </label>
  );
}

/** The name that was typed, or a sentence that asks for one. */
export function named(value: string, what: string): string {
  const name = value.trim();
  if (name === "") throw new Error(`Give ${what} a name first.`);
  return name;
}

interface PictureProps {
  readonly id: string;
  readonly shown: Blob | null;
  /** A small PNG, or nothing when the drawn one is wanted. */
  readonly change: (png: Uint8Array) => void;
}

/** A picture to choose; it is made small here, and the large one goes nowhere. */
export function PictureField({ id, shown, change }: PictureProps) {
  const { refusal, asking } = useAsking();
  const [chosen, setChosen] = useState<Blob | null>(shown);
  useEffect(() => setChosen(shown), [shown]);
  const take = (png: Uint8Array): void => {
    setChosen(png.length === 0 ? null : new Blob([png as Uint8Array<ArrayBuffer>], { type: "image/png" }));
    change(png);
  };
  return (
    <div class="portrait">
      <Avatar id={id} picture={chosen} size={48} />
      <label class="field">
        Picture, if you like
        <input
          type="file"
          accept="image/*"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file !== undefined) void asking(async () => take(await smallPicture(file)));
          }}
        />
      </label>
      {chosen !== null && (
        <button type="button" class="quiet" onClick={() => take(new Uint8Array())}>
          Use the drawn one
        </button>
      )}
      <Refusal sentence={refusal} />
    </div>
  );
}
