/**
 * What the page knows about its device: battery, Save-Data, heat. The Worker decides what follows from it.
 *
 * Each is told only where the browser tells: Firefox and Safari have no battery, plain http has none of the three.
 */

export interface Conditions {
  readonly onBattery: boolean;
  readonly savesData: boolean;
  readonly isHot: boolean;
}

export const NO_CONDITIONS: Conditions = { onBattery: false, savesData: false, isHot: false };

interface Battery extends EventTarget {
  readonly charging: boolean;
}
interface Connection extends EventTarget {
  readonly saveData?: boolean;
}
interface Device {
  getBattery?(): Promise<Battery>;
  readonly connection?: Connection;
}
interface PressureObserverConstructor {
  new (callback: (records: readonly { readonly state: string }[]) => void): {
    observe(source: "cpu", options: { sampleInterval: number }): Promise<void>;
  };
}

const PRESSURE_EVERY_MS = 2_000;

/** Tell the conditions now and whenever they change. */
export function watchConditions(tell: (conditions: Conditions) => void): void {
  let conditions = NO_CONDITIONS;
  const change = (changed: Partial<Conditions>): void => {
    conditions = { ...conditions, ...changed };
    tell(conditions);
  };
  const device = navigator as Device;
  void device.getBattery?.().then((battery) => {
    const look = (): void => change({ onBattery: !battery.charging });
    battery.addEventListener("chargingchange", look);
    look();
  });
  const { connection } = device;
  const look = (): void => change({ savesData: connection?.saveData ?? false });
  connection?.addEventListener("change", look);
  look();
  watchPressure((isHot) => change({ isHot }));
}

function watchPressure(tell: (isHot: boolean) => void): void {
  const observing = (globalThis as { PressureObserver?: PressureObserverConstructor }).PressureObserver;
  if (observing === undefined) return;
  const observer = new observing((records) => {
    const state = records.at(-1)?.state;
    if (state !== undefined) tell(state === "critical");
  });
  // Refused where a policy or the browser's settings forbid it: then nobody can tell.
  observer.observe("cpu", { sampleInterval: PRESSURE_EVERY_MS }).catch(() => undefined);
}
