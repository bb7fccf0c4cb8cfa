// Keeps the page working offline: what was loaded once is answered from the cache, then refreshed when online.
// `OCTAVO_PRECACHE` is filled in by the build (vite.config.ts) with the list of the page's files and a hash of them.

const { version, files } = self.OCTAVO_PRECACHE;
const name = `octavo-${version}`;

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(name)
      .then((cache) => cache.addAll(files))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener('activate', (event) => {
  // The page that is open now goes on without; the next visit is served. Firefox would finish clients.claim(), and until then hold back
  // all requests of the page, only when each of its workers has answered: threads that sleep for want of work never do.
  event.waitUntil(caches.keys().then((keys) => Promise.all(keys.filter((key) => key !== name).map((key) => caches.delete(key)))));
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin) return;
  event.respondWith(caches.match(event.request, { ignoreSearch: true }).then((hit) => hit ?? fetch(event.request)));
});
