import { CopyField } from "./copy";
import { Qr } from "./qr";

/** A join link in both forms: to copy, and to scan from another device. */
export function ShareLink({ link }: { link: string }) {
  return (
    <div class="share">
      <Qr text={link} label="The join link as a QR code" />
      <CopyField label="Join link: whoever opens it is asked whether to help" text={link} rows={5} />
    </div>
  );
}
