/** Made by vite.config.ts. */
declare module "virtual:sandbox" {
  /** Where the sandbox's page is; another address for every version of it. */
  export const sandboxUrl: string;
}

declare module "virtual:kernel" {
  /** Where the script that kernels run in lies. */
  export const kernelUrl: string;
}
