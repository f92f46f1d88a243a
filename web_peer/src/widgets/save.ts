/** Hand a file to the person, under this name. */
export function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // The browser has taken hold of the bytes by the time the click returns.
  URL.revokeObjectURL(address);
}
