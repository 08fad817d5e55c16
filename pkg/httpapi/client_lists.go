package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/url"
	"strconv"
)

// errNotWhole: an item of a list lacks what every one has.
var errNotWhole = errors.New("an item of the list cannot be understood")

// pages yields what a list has, page by page: no connection is held while the
// loop's body runs.
func pages[W, T any](ctx context.Context, c *Client, path, field string, q url.Values, read func(*W) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		q := maps.Clone(q)
		if q == nil {
			q = url.Values{}
		}
		q.Set("limit", strconv.Itoa(longestPage))
		for {
			items, next, err := page(ctx, c, path, field, q, read)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.Set("after", next)
		}
	}
}

// page gets one page, and the cursor of the next: empty, if it was the last.
func page[W, T any](ctx context.Context, c *Client, path, field string, q url.Values, read func(*W) (T, error)) (items []T, next string, err error) {
	var answer map[string]json.RawMessage
	if err := c.do(ctx, call{method: "GET", path: apiPath + path, query: q, into: &answer}); err != nil {
		return nil, "", err
	}
	var wire []*W
	err = errors.Join(json.Unmarshal(answer[field], &wire), json.Unmarshal(answer["next"], &next))
	if err == nil && next != "" && (len(wire) == 0 || next == q.Get("after")) {
		err = errors.New("the list does not get ahead")
	}
	for i := 0; err == nil && i < len(wire); i++ {
		var item T
		if wire[i] == nil {
			err = errNotWhole
			break
		}
		item, err = read(wire[i])
		items = append(items, item)
	}
	if err != nil {
		return nil, "", c.told(call{}, c.lost("the answer of %s cannot be understood: %w", c.o.Where, err))
	}
	return items, next, nil
}
