//! The names of counts and histograms that not every scenario has.

/// Attempts to open a connection.
pub(crate) const ATTEMPTS: &str = "attempts";
/// Attempts whose predecessor of the same client had failed.
pub(crate) const RETRIED: &str = "retried";
/// Attempts that the end of the run cut short.
pub(crate) const ABANDONED: &str = "abandoned";
/// Open connections that were asked to leave, by how they did.
pub(crate) const LEFT_BY_CLOSE: &str = "left_by_close";
/// See [`LEFT_BY_CLOSE`].
pub(crate) const LEFT_BY_FIN: &str = "left_by_fin";
/// See [`LEFT_BY_CLOSE`].
pub(crate) const LEFT_BY_ABORT: &str = "left_by_abort";

/// Histogram: from the start of an attempt to the TCP connection.
pub(crate) const CONNECT: &str = "connect";
/// Histogram: from the TCP connection to the end of the TLS handshake.
pub(crate) const TLS: &str = "tls";
/// TLS handshakes by the version that was agreed on.
pub(crate) const TLS_1_2: &str = "tls_1_2";
/// See [`TLS_1_2`].
pub(crate) const TLS_1_3: &str = "tls_1_3";
/// TLS handshakes that went on from an earlier session.
pub(crate) const TLS_RESUMED: &str = "tls_resumed";
/// Connections that agreed to compression.
pub(crate) const COMPRESSED: &str = "compressed";
/// Histogram: from the TCP connection, or the TLS handshake over it, to the server's 101.
pub(crate) const UPGRADE: &str = "upgrade";
/// Histogram: from our close frame to the server's FIN, after its own close frame.
pub(crate) const CLOSE: &str = "close";

/// Handshakes that were completed while the run was measured.
pub(crate) const HANDSHAKES: &str = "handshakes";
/// Attempts of clients that came and went that the server refused, or never answered.
pub(crate) const NOT_ADMITTED: &str = "not_admitted";
/// Attempts of clients that came and went that this host had no port or descriptor for.
pub(crate) const WITHOUT_MEANS: &str = "without_means";
/// Starts of the schedule that no client was free for.
pub(crate) const NOT_STARTED: &str = "not_started";
/// Histogram: from the first message of a connection to its echo.
pub(crate) const FIRST_MESSAGE: &str = "first_message";

/// Connections that a storm dropped, or that were lost in it.
pub(crate) const DROPPED: &str = "dropped";
/// Attempts to come back that failed.
pub(crate) const REFUSED: &str = "refused";
/// Connections that had not come back at the end.
pub(crate) const NEVER_BACK: &str = "never_back";
/// Histogram: from the drop of a connection to the server's 101 to its successor.
pub(crate) const RECOVERY: &str = "recovery";
/// Histogram: from the start of an attempt to its failure.
pub(crate) const REFUSAL: &str = "refusal";
/// Peak: handshakes that went on at once.
pub(crate) const HANDSHAKES_AT_ONCE: &str = "handshakes_at_once";
/// Peak: nanoseconds it took a thread to drop its connections.
pub(crate) const DROP_TIME: &str = "drop_time";
/// Peak: nanoseconds from the first attempt to come back after a storm to the last client's first,
/// without back-off.
pub(crate) const START_TIME: &str = "start_time";

/// Clients that the server let go with close frame 1001, and among those that came for a moment.
pub(crate) const FAREWELLS: &str = "farewells";
/// See [`FAREWELLS`].
pub(crate) const NEW_FAREWELLS: &str = "new_farewells";
/// Clients that came back, whatever had ended their connection.
pub(crate) const RETURNED: &str = "returned";
/// Messages that had no answer when the server let their client go.
pub(crate) const UNANSWERED: &str = "unanswered_at_farewell";
/// Histogram: from the start of the attempt that brought a client back to the server's 101.
pub(crate) const RETURN_HANDSHAKE: &str = "return";
/// Histogram: from the intended time of a message of a client that stays to its echo.
pub(crate) const ROUND_TRIP: &str = "round_trip";

/// Slow readers that were open when the load began.
pub(crate) const SLOW_READERS: &str = "slow_readers";
/// Bytes that slow readers have read.
pub(crate) const SLOW_BYTES: &str = "slow_bytes_read";
/// Messages that slow readers have sent.
pub(crate) const SLOW_SENT: &str = "slow_sent";
/// Messages of slow readers that were not sent, because the server took nothing from them.
pub(crate) const SLOW_BLOCKED: &str = "slow_blocked";
/// Histogram: from the beginning of the load to the server's end of a slow reader.
pub(crate) const SLOW_ENDED: &str = "slow_ended";

/// Threads that never learned how many messages other processes published, so that none is known to
/// be missing.
pub(crate) const LOSSES_UNKNOWN: &str = "losses_unknown";

/// Members that joined before the load began, and that have left and joined again since.
pub(crate) const JOINS: &str = "joins";
/// See [`JOINS`].
pub(crate) const REJOINS: &str = "rejoins";
/// Rejoins of the schedule that no member could make.
pub(crate) const REJOINS_LEFT_OUT: &str = "rejoins_left_out";
/// Rejoins after which all that was missed came, or not.
pub(crate) const RECOVERED: &str = "recovered";
/// See [`RECOVERED`].
pub(crate) const NOT_RECOVERED: &str = "not_recovered";
/// Messages that came before a member was away and once more when it was back.
pub(crate) const RECOVERED_AGAIN: &str = "recovered_again";
/// Deliveries that were not due, because the member was away.
pub(crate) const NOT_DUE: &str = "deliveries_not_due";
/// Deliveries that the server said are lost: by a gap, or because not all that was asked for came.
pub(crate) const TOLD_LOST: &str = "deliveries_told_lost";
/// Members that were told, unasked, where their room goes on.
pub(crate) const GAPS_TOLD: &str = "gaps_told";
/// Messages and joins that were refused because the room was unavailable.
pub(crate) const UNAVAILABLE: &str = "room_unavailable";
/// Messages that were refused and came all the same.
pub(crate) const REFUSED_AND_HEARD: &str = "refused_and_delivered";
/// Messages that nobody received, and whose sender lost its connection, or was told of a gap,
/// before it heard them.
pub(crate) const UNCONFIRMED: &str = "unconfirmed";
/// Rejoins, returns and gaps that found another epoch.
pub(crate) const EPOCHS_ENDED: &str = "epochs_ended";
/// Deliveries that could not be compared with those to other members.
pub(crate) const NOT_COMPARED: &str = "orders_not_compared";
/// Histogram: from `join_room` to `room_joined`.
pub(crate) const JOIN: &str = "join";
/// Histogram: from the intended time of a message until its sender had it back.
pub(crate) const OWN_MESSAGE: &str = "own_message";
/// Histogram: from the intended time of a message until all receivers had it. Of rooms, those whose
/// members are all on one thread.
pub(crate) const LAST_RECEIVER: &str = "last_receiver";
/// Histogram: from the intended time of a message until a member had it that was away.
pub(crate) const RECOVERED_MESSAGE: &str = "recovered_message";

/// Histograms: from the intended time of a message until a member had it that is connected to the
/// sender's server, or to another.
pub(crate) const SAME_NODE: &str = "same_node_message";
/// See [`SAME_NODE`].
pub(crate) const CROSS_NODE: &str = "cross_node_message";
/// Histogram: from the end of a member's connection until it was back in its room.
pub(crate) const BACK_IN_ROOM: &str = "back_in_room";

/// Whether a count has a name of this module, and a place of its own in the report.
pub(crate) fn is_of_lives(name: &str) -> bool {
    const ALL: [&str; 25] = [
        ATTEMPTS,
        RETRIED,
        ABANDONED,
        LEFT_BY_CLOSE,
        LEFT_BY_FIN,
        LEFT_BY_ABORT,
        HANDSHAKES,
        NOT_ADMITTED,
        WITHOUT_MEANS,
        NOT_STARTED,
        DROPPED,
        REFUSED,
        NEVER_BACK,
        FAREWELLS,
        NEW_FAREWELLS,
        RETURNED,
        UNANSWERED,
        SLOW_READERS,
        SLOW_BYTES,
        SLOW_SENT,
        SLOW_BLOCKED,
        COMPRESSED,
        TLS_1_2,
        TLS_1_3,
        TLS_RESUMED,
    ];
    ALL.contains(&name)
}

/// What a histogram measures.
pub(crate) fn describe(name: &'static str) -> &'static str {
    match name {
        CONNECT => "from the start of an attempt to the TCP connection",
        TLS => "from the TCP connection to the end of the TLS handshake",
        UPGRADE => "from the TCP connection, or the TLS handshake over it, to the 101",
        CLOSE => "from our close frame to the server's end of the stream",
        FIRST_MESSAGE => "from the first message of a connection to its echo",
        RECOVERY => "from the drop of a connection until it was open again",
        REFUSAL => "from the start of an attempt to its failure",
        RETURN_HANDSHAKE => "opening handshake of a client that comes back",
        ROUND_TRIP => "round trip of an echo of those that stay",
        SLOW_ENDED => "from the beginning of the load to the end of a slow reader",
        JOIN => "from join_room to room_joined",
        OWN_MESSAGE => "until a member had its own message back",
        LAST_RECEIVER => "until all receivers had a message",
        RECOVERED_MESSAGE => "until a member that was away had a message",
        SAME_NODE => "until a member on the sender's node had a message",
        CROSS_NODE => "until a member on another node had a message",
        BACK_IN_ROOM => "from the end of a connection until its member was back in its room",
        other => other,
    }
}
