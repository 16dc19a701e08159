package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

const (
	maxRedirects = 5
	userAgent    = "webtask-edge"
	accept       = "text/javascript, application/javascript, application/typescript, application/json;q=0.9, */*;q=0.5"
)

// record is one fetched file with what is needed to ask for it again. It
// belongs to one entry of the loader, whose attempts do not overlap.
type record struct {
	URL       string            `json:"url"` // as asked for, normalised
	Final     string            `json:"final"`
	MediaType string            `json:"type,omitempty"`
	ETag      string            `json:"etag,omitempty"`
	Modified  string            `json:"modified,omitempty"` // Last-Modified
	Sum       [sha256.Size]byte `json:"-"`
	Body      []byte            `json:"-"`
	Validated time.Time         `json:"-"` // when the origin last said that this is it
	renewed   bool              // the origin said so without sending it again
	stored    bool              // it is in the disk cache, if only with an older Validated
}

// fetcher gets files from origins.
type fetcher struct {
	transport http.RoundTripper
	allow     allowList
	clock     func() time.Time
}

// get asks the origin for u. With prev, the answer may be that it has not
// changed; the result is then prev with a new Validated. At most limit bytes
// are read, name is what a *TooLargeError says.
func (f *fetcher) get(ctx context.Context, u *url.URL, prev *record, limit int64) (*record, error) {
	asked := u
	for hop := 0; ; hop++ {
		if err := f.allow.check(u); err != nil {
			return nil, err
		}
		resp, err := f.roundTrip(ctx, u, prev)
		if err != nil {
			return nil, &FetchError{URL: displayURL(asked), Err: err}
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			return f.read(resp, asked, u, prev, limit)
		}
		resp.Body.Close()
		if hop == maxRedirects {
			return nil, &FetchError{URL: displayURL(asked), Err: fmt.Errorf("%w: more than %d redirects", ErrRedirects, maxRedirects)}
		}
		next, err := u.Parse(location)
		if err != nil {
			return nil, &FetchError{URL: displayURL(asked), Err: errors.New("the origin redirects to something that is no URL")}
		}
		if u, err = normalizeURL(next); err != nil {
			return nil, err
		}
	}
}

// roundTrip sends one request. It is not an http.Client that does, since that
// sends the URL on as Referer to where it is redirected, query and all.
func (f *fetcher) roundTrip(ctx context.Context, u *url.URL, prev *record) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", userAgent)
	if prev != nil {
		if prev.ETag != "" {
			req.Header.Set("If-None-Match", prev.ETag)
		}
		if prev.Modified != "" {
			req.Header.Set("If-Modified-Since", prev.Modified)
		}
	}
	resp, err := f.transport.RoundTrip(req)
	if err != nil {
		return nil, timely(ctx, err)
	}
	return resp, nil
}

func (f *fetcher) read(resp *http.Response, asked, final *url.URL, prev *record, limit int64) (*record, error) {
	defer resp.Body.Close()
	name := displayURL(asked)
	if resp.StatusCode == http.StatusNotModified && prev != nil {
		renewed := *prev
		renewed.Validated, renewed.renewed = f.clock(), true
		return &renewed, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &FetchError{URL: name, Status: resp.StatusCode}
	}
	if resp.ContentLength > limit {
		return nil, &TooLargeError{Name: name}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, &FetchError{URL: name, Err: timely(resp.Request.Context(), err)}
	}
	if int64(len(body)) > limit {
		return nil, &TooLargeError{Name: name}
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType == "text/html" || mediaType == "application/xhtml+xml" || isHTML(body) {
		return nil, htmlPage(name)
	}
	return &record{
		URL:       asked.String(),
		Final:     final.String(),
		MediaType: mediaType,
		ETag:      resp.Header.Get("ETag"),
		Modified:  resp.Header.Get("Last-Modified"),
		Sum:       sha256.Sum256(body),
		Body:      body,
		Validated: f.clock(),
	}, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// timely says what a context's end meant instead of that it ended.
func timely(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// originIsDown reports whether an error says that the origin cannot answer for
// now, rather than that it has something to say: that the code is gone, or may
// not be had.
func originIsDown(err error) bool {
	var fetch *FetchError
	if !errors.As(err, &fetch) {
		return false
	}
	switch fetch.Status {
	case 0, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return fetch.Status >= 500
}
