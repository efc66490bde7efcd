// The versions are pinned, and decide all others.
module feedback-relay/bento

go 1.23

require (
	github.com/warpstreamlabs/bento v1.10.0
	modernc.org/sqlite v1.29.6
)
