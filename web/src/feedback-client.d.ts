/** The browser module as wasm-bindgen exports it, as far as `client.ts` uses it. */
declare module "feedback-client" {
  export default function init(options: { module_or_path: ArrayBuffer }): Promise<unknown>;
  export function start(
    exports: unknown,
    endpoint: string,
    site: string,
    plan: number,
    categories: string,
    options: import("./client").Options,
  ): import("./client").Handle;
}
