/** Line drawings of one size. They decorate: the words beside them say it all, so screen readers skip them. */

const PATHS = {
  compute: "M5 5h5v5H5zM14 5h5v5h-5zM5 14h5v5H5zM14 14h5v5h-5z",
  tasks: "M9 6h11M9 12h11M9 18h11M4 6h.01M4 12h.01M4 18h.01",
  publish: "M12 16V4M7 9l5-5 5 5M5 16v4h14v-4",
  me: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  tick: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  note: "M12 7v6M12 16.5v.01",
  shield: "M12 3l7 3v5.5c0 4.5-3 7.5-7 9.5-4-2-7-5-7-9.5V6zM9 12l2.200 2.200L15.300 10",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, filled = false }: { name: IconName; filled?: boolean }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false" data-filled={filled}>
      <path d={PATHS[name]} />
    </svg>
  );
}

/** Nine tiles of a picture that fills in. */
export function Mark() {
  const filled = "110111110";
  return (
    <svg class="mark" viewBox="0 0 22 22" aria-hidden="true" focusable="false">
      {[...filled].map((tile, index) => (
        <rect
          key={index}
          x={(index % 3) * 8}
          y={Math.floor(index / 3) * 8}
          width="6"
          height="6"
          rx="1.5"
          opacity={tile === "1" ? 1 : 0.3}
        />
      ))}
    </svg>
  );
}
