// comlink ships types for its Node adapter under another extension than the module has.
declare module 'comlink/dist/esm/node-adapter.mjs' {
  import type { Endpoint } from 'comlink';

  const nodeEndpoint: (port: unknown) => Endpoint;
  export default nodeEndpoint;
}
