/** The wasm-bindgen exports of the browser module that `client.ts` uses. */
declare module "feedback-client" {
  export default function init(options: { module_or_path: ArrayBuffer }): Promise<unknown>;
  export const answer: unknown, attend: unknown, dropped: unknown, navigate: unknown, online: unknown, open: unknown;
  export const rate: unknown, scroll: unknown, stop: unknown, track: unknown, wake: unknown;
  export function start(
    exports: unknown,
    endpoint: string,
    site: string,
    plan: number,
    categories: string,
    options: import("./client").Options,
  ): import("./client").Handle;
}
