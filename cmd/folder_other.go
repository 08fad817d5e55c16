//go:build !unix || solaris || aix

package cmd

import "context"

// lockFolder does nothing: folders cannot be locked here.
func lockFolder(context.Context, string) (unlock func()) { return func() {} }
