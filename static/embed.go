// Package static holds the page that the gateway serves at / and the client
// module crier.js that any other page may load. The files are plain HTML, CSS
// and ES modules, sent as they are: there is no build step, and nothing in
// them is fetched from another host, so the page runs under
// "default-src 'self'" and on a machine without a network.
//
// index.html is one document for every view; the gateway answers it at /,
// /inbox, /prices, /alerts, /rooms, /send, /account, /login, /signup and /reset
// (and below some of them, such as /inbox/{id} and
// /alerts/{id}), and everything in Files under /static/.
package static

import "embed"

// Files is the tree below this directory that is served: read-only, safe for
// concurrent use, with index.html at its root.
//
//go:embed index.html style.css rooms.css crier.js favicon.svg app
var Files embed.FS
