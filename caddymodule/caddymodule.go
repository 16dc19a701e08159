// Package caddymodule is the face that Caddy sees of Webtask Edge, and the only
// package, besides the mains, that knows Caddy.
//
//	{
//		webtask {
//			timeout 10s
//		}
//	}
//
//	example.com {
//		webtask /hello {
//			code tasks/hello.js
//		}
//		webtask /run/*
//	}
//
// App holds what all routes share; Handler is the directive `webtask`;
// MatchToken is the matcher `webtask_token`; Encoder keeps tokens out of logs.
// What survives a reload (isolates, the store, the keys) is kept in usage
// pools, keyed by the configuration it was made of: see shared.go.
package caddymodule
