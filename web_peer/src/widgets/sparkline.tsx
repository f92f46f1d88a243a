import { counted } from "./format";

const HEIGHT = 40;
const BAR = 6;
const GAP = 2;

/** One bar for each of the last hours, oldest left. Hours without work keep a hairline, so that the axis is seen. */
export function Sparkline({ hours }: { hours: readonly number[] }) {
  const highest = Math.max(1, ...hours);
  const sum = hours.reduce((total, hour) => total + hour, 0);
  const width = hours.length * (BAR + GAP) - GAP;
  return (
    <svg
      class="sparkline"
      viewBox={`0 0 ${width} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${counted(sum, "chunk")} in the last ${hours.length} hours, ${highest} in the best hour`}
    >
      {hours.map((hour, index) => {
        const height = hour === 0 ? 1 : Math.max(3, (HEIGHT * hour) / highest);
        return (
          <rect
            key={index}
            x={index * (BAR + GAP)}
            y={HEIGHT - height}
            width={BAR}
            height={height}
            data-empty={hour === 0}
          />
        );
      })}
    </svg>
  );
}
