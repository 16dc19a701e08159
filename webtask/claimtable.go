package webtask

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claim is one row of the table that reads and writes claims.
type claim struct {
	name string
	edge bool // set by the edge, refused in a request

	read  func(c *Claims, raw json.RawMessage) *FieldError // of a token's payload
	write func(c *Claims) any                              // nil: absent
}

var claimTable = slices.Concat([]claim{
	edgeClaim(stringClaim("jti", func(c *Claims) *string { return &c.ID })),
	edgeClaim(timeClaim("iat", func(c *Claims) *time.Time { return &c.IssuedAt })),
	edgeClaim(listClaim("ca", func(c *Claims) *[]string { return &c.Ancestors })),
	depthClaim(),
	flagClaim("dr", func(c *Claims) *bool { return &c.NoSelfRevoke }),
	masterClaim(),
	stringClaim("ten", func(c *Claims) *string { return &c.Container }),
	stringClaim("jtn", func(c *Claims) *string { return &c.Name }),
	listClaim("jtnm", func(c *Claims) *[]string { return &c.Names }),
	timeClaim("nbf", func(c *Claims) *time.Time { return &c.NotBefore }),
	timeClaim("exp", func(c *Claims) *time.Time { return &c.Expires }),
	stringClaim("url", func(c *Claims) *string { return &c.URL }),
	stringClaim("integrity", func(c *Claims) *string { return &c.Integrity }),
	mapClaim("pctx", func(c *Claims) *map[string]string { return &c.Params }),
	stringClaim("ectx", func(c *Claims) *string { return &c.sealed }),
	parseBodyClaim(),
	flagClaim("mb", func(c *Claims) *bool { return &c.MergeBody }),
	mapClaim("meta", func(c *Claims) *map[string]string { return &c.Meta }),
	stringClaim("host", func(c *Claims) *string { return &c.Host }),
	listClaim("net", func(c *Claims) *[]string { return &c.Net }),
	limClaim(),
},
	rateClaims("l", func(c *Claims) *RateWindows { return &c.RateLimit.Container }),
	rateClaims("lt", func(c *Claims) *RateWindows { return &c.RateLimit.Token }),
)

// secretsRequest is the row for ectx in a request, where it is plaintext.
var secretsRequest = mapClaim("ectx", func(c *Claims) *map[string]string { return &c.Secrets })

// readClaims fills c from a JSON object: a token's payload, or a request.
func readClaims(c *Claims, data []byte, inToken bool) error {
	members, ok := readObject(data)
	if !ok {
		return claimError("claims", "are not one JSON object with each claim once", `write them like {"ten":"acme","url":"https://example.com/hello.js"}`)
	}
	for _, name := range sortedKeys(members) {
		i := slices.IndexFunc(claimTable, func(row claim) bool { return row.name == name })
		if name == "code" {
			return claimError("code", "cannot stand in a token", "publish the code at a URL and name it with url")
		}
		if i < 0 {
			return claimError(name, "is no claim", "the claims are "+strings.Join(claimNames(), ", "))
		}
		row := claimTable[i]
		if row.edge && !inToken {
			return claimError(name, "is set by the edge", "leave it out")
		}
		if name == "ectx" && !inToken {
			row = secretsRequest
		}
		if err := row.read(c, members[name]); err != nil {
			return err.of(ErrClaims, name)
		}
	}
	return nil
}

func claimNames() []string {
	var names []string
	for _, row := range claimTable {
		if !row.edge {
			names = append(names, row.name)
		}
	}
	return names
}

func edgeClaim(row claim) claim {
	row.edge = true
	return row
}

// readInt reads a JSON integer, or a string of one.
func readInt(raw json.RawMessage) (int64, bool) {
	text, ok := scalarText(raw)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && text[0] != '+'
}

func wrongType(is, remedy string) *FieldError {
	return &FieldError{Problem: "is not " + is, Remedy: remedy}
}

func stringClaim(name string, at func(*Claims) *string) claim {
	return claim{
		name: name,
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			s, ok := readString(raw)
			if !ok {
				return wrongType("a string", "write a string, or leave it out")
			}
			if s == "" {
				return &FieldError{Problem: "is empty", Remedy: "leave it out if it is not meant"}
			}
			*at(c) = s
			return nil
		},
		write: func(c *Claims) any {
			if s := *at(c); s != "" {
				return s
			}
			return nil
		},
	}
}

// maxTime is the last second of the year 9999: later ones cannot be printed
// as RFC 3339, and times near MaxInt64 overflow when they are compared.
const maxTime = 253402300799

func timeClaim(name string, at func(*Claims) *time.Time) claim {
	return claim{
		name: name,
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			n, ok := readInt(raw)
			if !ok || n <= 0 || n > maxTime {
				return wrongType("a time", "write the seconds since 1970 as a whole number")
			}
			*at(c) = time.Unix(n, 0)
			return nil
		},
		write: func(c *Claims) any {
			if t := *at(c); !t.IsZero() {
				return t.Unix()
			}
			return nil
		},
	}
}

func flagClaim(name string, at func(*Claims) *bool) claim {
	return claim{
		name: name,
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			n, ok := readInt(raw)
			if !ok || n < 0 || n > 1 {
				return wrongType("0 or 1", "write 0 or 1")
			}
			*at(c) = n == 1
			return nil
		},
		write: func(c *Claims) any {
			if *at(c) {
				return 1
			}
			return nil
		},
	}
}

func listClaim(name string, at func(*Claims) *[]string) claim {
	return claim{
		name: name,
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			list, ok := readStrings(raw)
			if !ok {
				return wrongType("a list of strings", `write a list, like ["a","b"]`)
			}
			*at(c) = list
			return nil
		},
		write: func(c *Claims) any {
			if list := *at(c); list != nil {
				return list
			}
			return nil
		},
	}
}

func mapClaim(name string, at func(*Claims) *map[string]string) claim {
	return claim{
		name: name,
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			m, wrong, ok := readStringMap(raw)
			if wrong != "" {
				return &FieldError{Field: quote(wrong), Problem: "is not a string", Remedy: "write every value as a string"}
			}
			if !ok {
				return wrongType("an object with each name once", `write names with string values, like {"lang":"en"}`)
			}
			*at(c) = m
			return nil
		},
		write: func(c *Claims) any {
			if m := *at(c); len(m) > 0 {
				return m
			}
			return nil
		},
	}
}

// maxDepth bounds dd, and with it the length of ca.
const maxDepth = 100

func depthClaim() claim {
	return claim{
		name: "dd",
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			n, ok := readInt(raw)
			if !ok || n < 0 || n > maxDepth {
				return wrongType("a depth", "write a whole number from 0 to "+strconv.Itoa(maxDepth))
			}
			c.Depth = int(n)
			return nil
		},
		// Always written: a request without dd means 1, a token without it 0.
		write: func(c *Claims) any { return c.Depth },
	}
}

// masterClaim reads the one claim that gives rights by being there, so only
// the exact value true does.
func masterClaim() claim {
	return claim{
		name: "master",
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			if string(raw) != "true" {
				return wrongType("true", "leave it out")
			}
			c.Master = true
			return nil
		},
		write: func(c *Claims) any {
			if c.Master {
				return true
			}
			return nil
		},
	}
}

func parseBodyClaim() claim {
	return claim{
		name: "pb",
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			n, ok := readInt(raw)
			if !ok || n < int64(ParseBodyNever) || n > int64(ParseBodyByArity) {
				return wrongType("0, 1 or 2", "write 0 (never parse the body), 1 (always) or 2 (by the handler's arity)")
			}
			c.ParseBody = new(ParseBody(n))
			return nil
		},
		write: func(c *Claims) any {
			if c.ParseBody != nil {
				return int(*c.ParseBody)
			}
			return nil
		},
	}
}

func limClaim() claim {
	return claim{
		name: "lim",
		read: func(c *Claims, raw json.RawMessage) *FieldError {
			if err := c.Limits.UnmarshalJSON(raw); err != nil {
				return err.(*FieldError)
			}
			return nil
		},
		write: func(c *Claims) any {
			if c.Limits != (Limits{}) {
				return c.Limits
			}
			return nil
		},
	}
}

// rateClaims returns the rows of one RateWindows: prefix and s, m, h, d, w, o.
func rateClaims(prefix string, of func(*Claims) *RateWindows) []claim {
	var rows []claim
	for _, window := range rateWindows {
		at := func(c *Claims) *int { return window.limit(of(c)) }
		rows = append(rows, claim{
			name: prefix + window.suffix,
			read: func(c *Claims, raw json.RawMessage) *FieldError {
				n, ok := readInt(raw)
				if !ok || n < 1 || n > math.MaxInt32 {
					return wrongType("a number of requests", "write a whole number of at least 1, or leave it out for no limit")
				}
				*at(c) = int(n)
				return nil
			},
			write: func(c *Claims) any {
				if n := *at(c); n != 0 {
					return n
				}
				return nil
			},
		})
	}
	return rows
}
