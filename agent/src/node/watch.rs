//! Looking after the cards: errors that they report (Xid), and whether the driver reaches them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::board::{Board, Cause};
use super::gpu::Gpu;
use crate::nvml::{Nvml, Xid, Xids};

/// How often the driver is asked whether it reaches the cards.
const LOOK: Duration = Duration::from_secs(5);
/// How long one call waits for an error.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to leave off after the driver could not be asked.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes what is wrong with the cards to the board, until the future is dropped.
pub(super) async fn watch(nvml: &Nvml, gpus: &[Gpu], board: &Board) {
    let (tell, mut xids) = mpsc::channel(64);
    match nvml.xids(&gpus.iter().map(|gpu| gpu.uuid.clone()).collect::<Vec<_>>()) {
        // A thread, because the driver's call waits; it ends when nobody listens any more, within PATIENCE.
        Ok(events) => {
            std::thread::spawn(move || listen(&events, &tell));
        }
        Err(error) => warn!("errors of the cards (Xid) are not reported here: {error}"),
    }
    loop {
        tokio::select! {
            Some(xid) = xids.recv() => heed(&xid, gpus, board),
            () = sleep(LOOK) => for gpu in gpus {
                match nvml.answers(&gpu.uuid) {
                    Ok(()) => board.settled(&gpu.uuid, Cause::Lost),
                    Err(error) => board.trouble(&gpu.uuid, Cause::Lost, &format!("the driver has lost it: {error}")),
                }
            },
        }
    }
}

fn listen(events: &Xids, tell: &mpsc::Sender<Xid>) {
    while !tell.is_closed() {
        match events.next(PATIENCE) {
            // Where so many are waiting that there is no room, the first ones have said enough.
            Ok(Some(xid)) => drop(tell.try_send(xid)),
            Ok(None) => {}
            Err(error) => {
                warn!("errors of the cards cannot be asked for: {error}");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// What an error means for the slots. Nothing says that a card is well again: that takes a reset, and then a new start of
/// this program.
fn heed(xid: &Xid, gpus: &[Gpu], board: &Board) {
    let number = xid.number.map_or_else(|| "of an unknown number".to_owned(), |number| number.to_string());
    if !xid.is_of_the_card() {
        info!(gpu = xid.gpu, "Xid {number}: a program's own fault");
        return;
    }
    let words = format!(
        "the card reported Xid {number} (NVIDIA's \"Xid Errors\" says what that is); once it is well, for which it may have to \
         be reset, start the node's agent again"
    );
    // An error of a card that the driver does not name may be any card's.
    for gpu in gpus.iter().filter(|gpu| xid.gpu.as_ref().is_none_or(|uuid| *uuid == gpu.uuid)) {
        board.trouble(&gpu.uuid, Cause::Xid, &words);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::*;

    #[test]
    fn a_cards_error_makes_its_slots_unhealthy_and_a_programs_does_not() {
        let (gpus, board) = (h200s(2), Board::default());
        let xid =
            |gpu: Option<usize>, number| Xid { gpu: gpu.map(|n| gpus[n].uuid.clone()), number: Some(number) };
        let healthy = |board: &Board| [0, 1].map(|n: usize| board.is_healthy(&gpus[n].uuid));
        heed(&xid(Some(0), 31), &gpus, &board);
        heed(&xid(None, 13), &gpus, &board);
        assert_eq!(healthy(&board), [true, true]);
        heed(&xid(Some(1), 79), &gpus, &board);
        assert_eq!(healthy(&board), [true, false]);
        heed(&xid(None, 48), &gpus, &board);
        assert_eq!(healthy(&board), [false, false]);
    }
}
