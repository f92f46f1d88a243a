/** Made by vite.config.ts. */
declare module "virtual:sandbox" {
  /** Where the sandbox's page is; another address for every version of it. */
  export const sandboxUrl: string;
}

declare module "virtual:kernel" {
  /** The script that kernels run in. */
  export const script: string;
}
