package webtask

// A keyring and a token that it issued, made once and kept.
const (
	recordedKeyring = `{"keys":[{"use":"sig","kty":"oct","kid":"wt1--5UGlcRrl-wHoHkf","alg":"HS256","k":"Wt2a4Up4prUXrcvrirEhdWZLXNZohTNElPqRlop19MA"}]}`

	recordedToken = "" +
		"eyJhbGciOiJIUzI1NiIsImtpZCI6Ind0MS0tNVVHbGNScmwtd0hvSGtmIn0.eyJkZCI6MCwiZWN0eCI6ImV5SmhiR2NpT2lKa2FYSWlMQ0psYm" +
		"1NaU9pSkJNalUyUjBOTklpd2lhblJwSWpvaU4yRXlZalF4WlRBMk5HTmxOVE5qWW1ZNU0ySTFPVFkwWWpJMk5XUmxPRFVpTENKMFpXNGlPaUpo" +
		"WTIxbEluMC4ua1hBWENGVmJYWDZJV2M3SC5ieURLbG9Ea2did0x1VFRnVzFPeW8zRngyZE5HclY1VC1meWVZVFN2RncuUS1ONEVkcEdwY0ZJNU" +
		"RBcExnNEhCUSIsImV4cCI6MTc5NTE3OTYwMCwiaWF0IjoxNzk1MTc2MDAwLCJqdGkiOiI3YTJiNDFlMDY0Y2U1M2NiZjkzYjU5NjRiMjY1ZGU4" +
		"NSIsInBjdHgiOnsibGFuZyI6ImVuIn0sInRlbiI6ImFjbWUiLCJ1cmwiOiJodHRwczovL2V4YW1wbGUuY29tL2hlbGxvLmpzP2E9MSZiPTIifQ" +
		".SOvSfJEQh0YRwZYOtslIouXs8CIKvWhmUc_g7HJMc3k"
)
